//! What the program writes while a guest runs. Nothing that controls the run waits for whoever reads it.

pub(crate) mod console;
pub(crate) mod console_socket;
pub(crate) mod file;
pub(crate) mod inherited;
pub(crate) mod log;
pub(crate) mod queue;
pub(crate) mod stream;
