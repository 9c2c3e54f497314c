//! A driver that has what include/uapi/linux/vfio.h demands of one with `VFIO_MIGRATION_STOP_COPY`, and notes what it forbids
//! its user.

use super::super::{MigrationOps, MigrationState};
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard};
use vfio_bindings::bindings::vfio::VFIO_MIGRATION_STOP_COPY;

/// What comes of a transition that fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// The device stays in the state that it was in.
    Refuses,
    /// The device has failed.
    Breaks,
}

struct Inner {
    supported: Result<u64, i32>,
    state: MigrationState,
    inside: Vec<u8>,
    endless: bool,
    /// What a driver of another kind of device does not take.
    refused: Option<Vec<u8>>,
    faults: Vec<(MigrationState, Fault)>,
    reset_fails: bool,
    /// The transfer that is under way: its number, and what was read or written.
    transfer: Option<(u64, Vec<u8>, usize)>,
    transfers: u64,
    breaks_after: Option<usize>,
    breaches: Vec<String>,
}

#[derive(Clone)]
pub(super) struct FakeDriver(Arc<Mutex<Inner>>);

/// The descriptor of a transfer.
pub(super) struct Stream {
    driver: FakeDriver,
    number: u64,
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(libc::EIO)
}

impl FakeDriver {
    pub(super) fn holding(inside: &[u8]) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            supported: Ok(VFIO_MIGRATION_STOP_COPY.into()),
            state: MigrationState::RUNNING,
            inside: inside.to_vec(),
            endless: false,
            refused: None,
            faults: Vec::new(),
            reset_fails: false,
            transfer: None,
            transfers: 0,
            breaks_after: None,
            breaches: Vec::new(),
        })))
    }

    pub(super) fn supporting(supported: Result<u64, i32>) -> Self {
        let driver = Self::holding(b"");
        driver.lock().supported = supported;
        driver
    }

    /// One whose stream has no end.
    pub(super) fn endless() -> Self {
        let driver = Self::holding(&[0x5a; 1 << 16]);
        driver.lock().endless = true;
        driver
    }

    /// One that finds these bytes invalid.
    pub(super) fn refusing(self, inside: &[u8]) -> Self {
        self.lock().refused = Some(inside.to_vec());
        self
    }

    /// Has the next transition into a state fail.
    pub(super) fn fail_at(&self, state: MigrationState, fault: Fault) {
        self.lock().faults.push((state, fault));
    }

    pub(super) fn fail_reset(&self) {
        self.lock().reset_fails = true;
    }

    /// Has the next read behind so many bytes fail.
    pub(super) fn break_stream_after(&self, bytes: usize) {
        self.lock().breaks_after = Some(bytes);
    }

    pub(super) fn state(&self) -> MigrationState {
        self.lock().state
    }

    pub(super) fn inside(&self) -> Vec<u8> {
        self.lock().inside.clone()
    }

    pub(super) fn breaches(&self) -> Vec<String> {
        self.lock().breaches.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }
}

impl Inner {
    fn breach(&mut self, what: &str) -> io::Error {
        self.breaches.push(what.to_owned());
        io::Error::from_raw_os_error(libc::EINVAL)
    }

    /// One arc of the state machine, of those that need no optional state: the way over RUNNING_P2P is the driver's own.
    fn arc(&mut self, to: MigrationState) -> io::Result<()> {
        let from = self.state;
        let fault = self.faults.iter().position(|(at, _)| *at == to).map(|at| self.faults.remove(at).1);
        if let Some(fault) = fault {
            if fault == Fault::Breaks {
                (self.state, self.transfer) = (MigrationState::ERROR, None);
            }
            return Err(eio());
        }
        match (from, to) {
            (MigrationState::RUNNING, MigrationState::STOP) => {}
            (MigrationState::STOP, MigrationState::RUNNING) => {}
            (MigrationState::STOP, MigrationState::STOP_COPY) => {
                self.transfers += 1;
                self.transfer = Some((self.transfers, self.inside.clone(), 0));
            }
            (MigrationState::STOP_COPY, MigrationState::STOP) => self.transfer = None,
            (MigrationState::STOP, MigrationState::RESUMING) => {
                self.transfers += 1;
                // The driver may alter what the device holds on this way.
                self.inside.clear();
                self.transfer = Some((self.transfers, Vec::new(), 0));
            }
            (MigrationState::RESUMING, MigrationState::STOP) => {
                let Some((_, written, _)) = self.transfer.take() else { return Err(eio()) };
                if written.is_empty() || self.refused.as_ref() == Some(&written) {
                    self.state = MigrationState::ERROR;
                    return Err(io::Error::from_raw_os_error(libc::EINVAL));
                }
                self.inside = written;
            }
            _ => unreachable!("{from:?} to {to:?} is no arc"),
        }
        self.state = to;
        Ok(())
    }

    /// The arcs of a transition: itself, or by way of STOP, which is the shortest one.
    fn path(&mut self, to: MigrationState) -> io::Result<Vec<MigrationState>> {
        use MigrationState as S;
        match (self.state, to) {
            (S::ERROR, _) => Err(self.breach("a state is set in ERROR: only a reset gets out of it")),
            (_, S::ERROR) => Err(self.breach("ERROR cannot be set")),
            (from, to) if from == to => Ok(vec![]),
            (S::STOP, to @ (S::RUNNING | S::STOP_COPY | S::RESUMING)) => Ok(vec![to]),
            (S::RUNNING | S::STOP_COPY | S::RESUMING, S::STOP) => Ok(vec![S::STOP]),
            (_, to @ (S::RUNNING | S::STOP_COPY | S::RESUMING)) => Ok(vec![S::STOP, to]),
            (_, _) => Err(self.breach("an optional state that the driver does not have is set")),
        }
    }
}

impl MigrationOps for FakeDriver {
    type Stream = Stream;

    fn supported(&self) -> io::Result<u64> {
        self.lock().supported.map_err(io::Error::from_raw_os_error)
    }

    fn state(&self) -> io::Result<MigrationState> {
        Ok(self.lock().state)
    }

    fn set_state(&self, state: MigrationState) -> io::Result<Option<Stream>> {
        let mut inner = self.lock();
        let before = inner.transfers;
        for to in inner.path(state)? {
            inner.arc(to)?;
        }
        let number = inner.transfers;
        Ok((number > before).then(|| Stream { driver: self.clone(), number }))
    }

    fn reset(&self) -> io::Result<()> {
        let mut inner = self.lock();
        if inner.reset_fails {
            return Err(eio());
        }
        (inner.state, inner.transfer) = (MigrationState::RUNNING, None);
        inner.inside.clear();
        Ok(())
    }
}

impl Read for Stream {
    fn read(&mut self, data: &mut [u8]) -> io::Result<usize> {
        let mut inner = self.driver.lock();
        if inner.state != MigrationState::STOP_COPY {
            return Err(inner.breach("a stream is read that does not give out"));
        }
        let (endless, breaks_after) = (inner.endless, inner.breaks_after);
        let Some((number, all, read)) = &mut inner.transfer else { return Err(eio()) };
        assert_eq!(*number, self.number, "the stream of an earlier transfer");
        if breaks_after.is_some_and(|bytes| *read >= bytes) {
            inner.breaks_after = None;
            return Err(eio());
        }
        // Never as much as was asked for.
        let most = breaks_after.map_or(all.len(), |bytes| bytes.min(all.len()));
        let count = (most - *read).min(data.len()).min(if endless { 1 << 16 } else { 4 });
        data[..count].copy_from_slice(&all[*read..*read + count]);
        *read = if endless { 0 } else { *read + count };
        Ok(count)
    }
}

impl Write for Stream {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let mut inner = self.driver.lock();
        if inner.state != MigrationState::RESUMING {
            return Err(inner.breach("a stream is written that does not take"));
        }
        let Some((number, written, _)) = &mut inner.transfer else { return Err(eio()) };
        assert_eq!(*number, self.number, "the stream of an earlier transfer");
        let count = data.len().min(3);
        written.extend(&data[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
