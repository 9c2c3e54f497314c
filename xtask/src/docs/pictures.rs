//! The pictures say by which command they were drawn, and nothing of the folders of the machine that drew them.

use std::fs;

use crate::build::workspace;

#[test]
fn no_picture_names_a_path() {
    let mut found = 0;
    for entry in fs::read_dir(workspace::root().join("docs/pictures")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        for line in text.lines().filter(|line| line.contains("./run.sh ")) {
            found += 1;
            let has_path = line.split_whitespace().any(|word| word.starts_with(['/', '~']));
            assert!(!has_path, "{}: {line}", path.display());
        }
    }
    assert!(found > 0, "no picture names its command");
}
