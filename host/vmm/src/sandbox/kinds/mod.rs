//! The kinds of threads, a file for each: what it may call, and what of the file system it may reach.
//!
//! Whoever gives a thread something new to do adds the call here, with its reason, to the kind alone or to a group.
//! `pvir run --sandbox log` has the kernel log what a list lacks; `--sandbox on` stops the run and names it.

mod console;
mod control;
mod device;
mod main_thread;
mod output;
mod prearm;
mod signals;
mod stdin;
mod storm;
mod vcpu;

pub(crate) use console::CONSOLE;
pub(crate) use control::CONTROL;
pub(crate) use device::{DEVICE, DEVICE_PLUGGED};
pub(crate) use main_thread::{MAIN, MAIN_RESTARTING};
pub(crate) use output::OUTPUT;
pub(crate) use prearm::PREARM;
pub(crate) use signals::SIGNALS;
pub(crate) use stdin::STDIN;
pub(crate) use storm::STORM;
pub(crate) use vcpu::{VCPU, VCPU_AGAIN};

use super::call::{Call, Refusal};

/// A kind of thread.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// What it may call: anything in one of these lists.
    pub(super) calls: &'static [&'static [Call]],
    pub(super) files: Files,
    /// What is answered with an errno, whatever the lists say.
    pub(super) refused: &'static [Refusal],
}

/// What of the file system a thread can reach by name, where the kernel has Landlock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Files {
    Nothing,
    /// `/proc` and `/sys`, to be read.
    ReadSystem,
    /// The same, and the files of sockets may be removed.
    ReadSystemRemoveSocket,
    /// What the thread that has started this one can: for a kind that may not ask for less.
    Inherited,
}

/// All of them.
pub(super) const ALL: [&Kind; 13] = [
    &CONSOLE,
    &CONTROL,
    &DEVICE,
    &DEVICE_PLUGGED,
    &MAIN,
    &MAIN_RESTARTING,
    &OUTPUT,
    &PREARM,
    &SIGNALS,
    &STDIN,
    &STORM,
    &VCPU,
    &VCPU_AGAIN,
];
