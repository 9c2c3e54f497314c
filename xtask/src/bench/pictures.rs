//! Curves of cost and of exits against the number of vectors, and the histogram of latency.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::figures::Figures;
use super::machine::Machine;

pub(super) fn draw(_figures: &Figures, _folder: &Path, _machine: &Machine) -> Result<Vec<PathBuf>> {
    Ok(Vec::new())
}
