//! The corpus, on stable Rust, and a few inputs made from it.

use crate::TARGETS;
use crate::runner::{Random, attempt, corpus, mutate, run};
use std::time::Duration;

/// Inputs made of each one of the corpus.
const MORE: usize = 40;

#[test]
fn every_input_of_the_corpus_and_some_more_are_as_they_have_to_be() {
    for target in TARGETS {
        let corpus = corpus(&target).unwrap();
        assert!(corpus.len() >= 8, "{}: only {} inputs", target.name, corpus.len());
        let mut random = Random::new(7);
        for (path, input) in corpus {
            attempt(&target, &input).unwrap_or_else(|error| panic!("{}: {error:#}", path.display()));
            for number in 0..MORE {
                let mut input = input.clone();
                mutate(&mut random, &mut input);
                attempt(&target, &input)
                    .unwrap_or_else(|error| panic!("{} {number}: {error:#}", path.display()));
            }
        }
    }
}

#[test]
fn what_shows_something_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = crate::Target { name: "calls", about: "", run: |_| anyhow::bail!("wrong") };
    let error = run(&wrong, Duration::from_secs(60), 3, folder.path()).unwrap_err();
    assert!(format!("{error:#}").contains("calls-3-0: wrong"), "{error:#}");
    assert!(folder.path().join("calls-3-0").exists());
}
