//! What comes from stdin, on its way to the guest's serial port.

use std::io::{self, Read};
use std::sync::Arc;
use std::thread::{self, Thread};

use rustix::process::{Signal, kill_current_process_group};
use vmm_sys_util::signal::block_signal;

use super::keys::{Key, Keys};
use super::serial::SerialPort;
use crate::sandbox::{Sandbox, kinds};

/// Brings stdin to the guest, on a thread that lives as long as the process. `keys` says what the keys of a terminal are;
/// of anything else nothing is read ahead of what the guest's FIFO can take. The thread is to be unparked when the process
/// is continued.
///
/// # Errors
/// If the thread cannot be started.
pub(crate) fn start(port: Arc<SerialPort>, keys: Option<Keys>, sandbox: &Sandbox) -> io::Result<Thread> {
    let sandbox = sandbox.clone();
    let feed = move || {
        sandbox.enter(&kinds::STDIN);
        match keys {
            Some(keys) => feed_keys(&port, keys),
            None => feed_bytes(&port),
        }
    };
    Ok(thread::Builder::new().name("stdin".to_owned()).spawn(feed)?.thread().clone())
}

fn feed_bytes(port: &SerialPort) {
    let mut stdin = io::stdin().lock();
    let mut buffer = [0; 64];
    loop {
        let room = port.wait_for_room().min(buffer.len());
        match stdin.read(&mut buffer[..room]) {
            Ok(0) | Err(_) => return,
            Ok(size) => port.receive(&buffer[..size]),
        }
    }
}

/// Keys are read at once, whether the guest takes them or not: one of them may end it.
fn feed_keys(port: &SerialPort, mut keys: Keys) {
    // In the background, reading fails in place of stopping the process.
    if let Err(error) = block_signal(Signal::TTIN.as_raw()) {
        tracing::debug!("SIGTTIN: {error}");
    }
    let mut buffer = [0; 64];
    loop {
        let size = match rustix::io::read(io::stdin(), &mut buffer) {
            Ok(0) => return,
            Ok(size) => size,
            Err(rustix::io::Errno::INTR) => continue,
            Err(rustix::io::Errno::IO) => {
                thread::park();
                continue;
            }
            Err(_) => return,
        };
        for key in buffer[..size].iter().filter_map(|byte| keys.next(*byte)) {
            match key {
                Key::Guest(byte) => port.receive(&[byte]),
                Key::Signal(signal) => {
                    if let Err(error) = kill_current_process_group(signal) {
                        tracing::debug!("{signal:?} is not sent: {error}");
                    }
                }
            }
        }
    }
}
