//! Goes on from a corpus at random, on stable Rust: no compiler tells here which code an input reaches.

use crate::Target;
use anyhow::{Context, Result, bail};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest input that is made, in bytes.
const LONGEST: usize = 1024;

/// A generator of random numbers (xorshift64*, S. Vigna, 2016).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed other than 0.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap_or(0) % bound
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap_or(0)
    }
}

/// The inputs of a target that are in the repository, in the order of their names.
///
/// # Errors
/// If the folder cannot be read.
pub fn corpus(target: &Target) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    paths.into_iter().map(|path| Ok((path.clone(), fs::read(&path)?))).collect()
}

/// Tries an input.
///
/// # Errors
/// What is wrong, a panic included.
pub fn attempt(target: &Target, input: &[u8]) -> Result<()> {
    match catch_unwind(AssertUnwindSafe(|| (target.run)(input))) {
        Ok(result) => result,
        Err(_) => bail!("it panicked; what it said is above"),
    }
}

/// Makes another input of one: some bytes are changed, put in, taken out, or doubled.
pub fn mutate(random: &mut Random, input: &mut Vec<u8>) {
    for _ in 0..=random.below(6) {
        let at = random.below(input.len() + 1);
        let byte = random.byte();
        match random.below(6) {
            0 | 1 => input.insert(at, byte),
            2 => input.truncate(input.len().max(at)),
            3 if at < input.len() => input[at] ^= 1 << (byte % 8),
            4 if at < input.len() => _ = input.remove(at),
            5 => {
                let part = input[at..].iter().copied().take(random.below(48) + 1).collect::<Vec<_>>();
                input.extend(part);
            }
            _ => (0..=random.below(24)).for_each(|_| input.push(random.byte())),
        }
    }
    input.truncate(LONGEST);
}

/// What came of a run.
#[derive(Clone, Copy, Debug)]
pub struct Tried {
    /// Inputs that were tried.
    pub inputs: u64,
    /// How long it took.
    pub took: Duration,
}

/// Tries inputs for `time`, from the corpus on. An input that shows something is written into `failures`.
///
/// # Errors
/// What is wrong, with the path of the input that shows it.
pub fn run(target: &Target, time: Duration, seed: u64, failures: &Path) -> Result<Tried> {
    let started = Instant::now();
    let (mut random, mut pool) = (Random::new(seed), vec![Vec::new()]);
    pool.extend(corpus(target)?.into_iter().map(|(_, input)| input));
    let (mut inputs, kept) = (0, pool.len());
    while started.elapsed() < time {
        let of = if random.below(2) == 0 { kept } else { pool.len() };
        let mut input = pool[random.below(of)].clone();
        mutate(&mut random, &mut input);
        if let Err(error) = attempt(target, &input) {
            fs::create_dir_all(failures)?;
            let path = failures.join(format!("{}-{seed}-{inputs}", target.name));
            fs::write(&path, &input)?;
            return Err(error.context(format!("input {}", path.display())));
        }
        // What was tried last is gone on from, too. The corpus stays: without it, all would soon be rubble.
        if random.below(16) == 0 {
            let place = if pool.len() < kept + 256 { pool.len() } else { kept + random.below(256) };
            if place == pool.len() { pool.push(input) } else { pool[place] = input }
        }
        inputs += 1;
    }
    Ok(Tried { inputs, took: started.elapsed() })
}
