//! The smallest kernel that programs a device's interrupt by itself: it takes one, moves it in its handler, and takes
//! another one. `docs/your-kernel.md` explains it. Without `--cfg bare_metal` it is an empty host program.

#![cfg_attr(bare_metal, no_std, no_main)]

#[cfg(bare_metal)]
mod kernel;

#[cfg(not(bare_metal))]
fn main() {}
