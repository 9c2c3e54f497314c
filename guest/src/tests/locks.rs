//! Locks of a kernel's own around a call: one that turns interrupts off, and a block for each CPU.
#![expect(unsafe_code, reason = "a conduit is between the driver and the fake host")]

use super::*;
use crate::{BatchMode, BlockLock, BlockMemory, Conduit, Error, Irte, NOT_MAPPED};
use core::cell::{Cell, RefCell};
use pvir_abi::{GuestPhysAddr, Operation, Status};
use std::boxed::Box;
use std::collections::BTreeSet;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::vec::Vec;

/// A CPU, which is the thread that it runs on.
#[derive(Default)]
struct Cpu {
    number: Cell<usize>,
    interrupts_off: Cell<bool>,
    /// The handler of an interrupt that has come while interrupts were off.
    pending: RefCell<Option<Box<dyn FnOnce()>>>,
}

std::thread_local! {
    static CPU: Cpu = Cpu::default();
}

/// The interrupt comes at once, or when interrupts are on again.
fn interrupt(handler: impl FnOnce() + 'static) {
    if CPU.with(|cpu| cpu.interrupts_off.get()) {
        CPU.with(|cpu| *cpu.pending.borrow_mut() = Some(Box::new(handler)));
    } else {
        without_interrupts(handler);
    }
}

fn without_interrupts<R>(work: impl FnOnce() -> R) -> R {
    let was_off = CPU.with(|cpu| cpu.interrupts_off.replace(true));
    let result = work();
    CPU.with(|cpu| cpu.interrupts_off.set(was_off));
    if !was_off {
        let pending = CPU.with(|cpu| cpu.pending.borrow_mut().take());
        pending.into_iter().for_each(without_interrupts);
    }
    result
}

/// One block under a lock that is taken with interrupts off.
struct IrqSafeBlock(Mutex<BlockMemory>);

impl BlockLock for IrqSafeBlock {
    fn with_block<R>(&self, call: impl FnOnce(&mut BlockMemory) -> R) -> R {
        // Whoever takes it while this CPU has it would wait for ever: that is a panic here.
        without_interrupts(|| call(&mut self.0.try_lock().expect("the lock is free")))
    }
}

/// A block for each CPU, used with interrupts off.
struct BlockOfEachCpu<const CPUS: usize>([Mutex<BlockMemory>; CPUS]);

impl<const CPUS: usize> BlockLock for BlockOfEachCpu<CPUS> {
    fn with_block<R>(&self, call: impl FnOnce(&mut BlockMemory) -> R) -> R {
        without_interrupts(|| {
            let own = &self.0[CPU.with(|cpu| cpu.number.get())];
            call(&mut own.try_lock().expect("only this CPU has the block"))
        })
    }
}

/// The fake host, with something that happens on this CPU while it carries out a call.
#[derive(Clone)]
struct During<F>(FakeHost, F);

impl<F: Fn(GuestPhysAddr)> Conduit for During<F> {
    unsafe fn call(&self, block: GuestPhysAddr) -> Status {
        (self.1)(block);
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { self.0.call(block) }
    }
}

fn enable<C: Conduit, L: BlockLock>(host: &FakeHost, conduit: C, lock: L) -> Remapping<C, L> {
    let pvir = Pvir::negotiate_with(&host.discovered(), conduit, lock).unwrap();
    pvir.enable(EnableOptions::new(Features::MSIX | Features::PARKING)).unwrap()
}

/// Calls of which an interrupt comes in the middle; its handler calls too. Answers with how often it has.
fn interrupted_calls<L: BlockLock + 'static>(host: &FakeHost, lock: L) -> usize {
    type Session<L> = Remapping<During<Box<dyn Fn(GuestPhysAddr)>>, L>;
    let session: &'static RefCell<Option<&'static Session<L>>> = Box::leak(Box::default());
    let moved: &'static RefCell<(Option<Irte>, usize)> = Box::leak(Box::default());
    let handler = move || {
        let mut moved = moved.borrow_mut();
        let (Some(remapping), (Some(irte), count)) = (*session.borrow(), &mut *moved) else { return };
        *count += 1;
        let cpu = u32::try_from(*count % 4).unwrap();
        remapping.retarget(irte, Target::fixed(cpu, 0x70)).unwrap();
    };
    let in_the_call = move |_| {
        assert!(CPU.with(|cpu| cpu.interrupts_off.get()), "a call is made with interrupts off");
        // The handler's own calls are not interrupted again.
        if CPU.with(|cpu| cpu.pending.borrow().is_none()) && moved.try_borrow_mut().is_ok() {
            interrupt(handler);
        }
    };
    let conduit = During(host.clone(), Box::new(in_the_call) as Box<dyn Fn(GuestPhysAddr)>);
    let remapping: &'static _ = Box::leak(Box::new(enable(host, conduit, lock)));
    let irte = remapping.map(msix(0)).unwrap();
    moved.borrow_mut().0 = Some(irte);
    *session.borrow_mut() = Some(remapping);
    for index in 1..20 {
        let irte = remapping.map(msix(index)).unwrap();
        remapping.unmap(irte).unwrap();
    }
    moved.borrow().1
}

#[test]
fn a_lock_that_turns_interrupts_off_lets_interrupt_handlers_call() {
    let host = host();
    let lock = IrqSafeBlock(Mutex::new(host.block(8)));
    assert_eq!(interrupted_calls(&host, lock), 38, "one in each of 19 MAPs and 19 UNMAPs");
}

#[test]
fn a_block_for_each_cpu_lets_interrupt_handlers_call() {
    let host = host();
    let lock = BlockOfEachCpu([Mutex::new(host.block(8))]);
    assert_eq!(interrupted_calls(&host, lock), 38);
}

#[test]
fn a_block_for_each_cpu_lets_all_call_at_the_same_time() {
    const CPUS: usize = 4;
    let host = host();
    let used: Arc<Mutex<Vec<(usize, u64)>>> = Arc::default();
    let note = {
        let used = Arc::clone(&used);
        move |block: GuestPhysAddr| {
            used.lock().unwrap().push((CPU.with(|cpu| cpu.number.get()), block.0));
        }
    };
    let lock = BlockOfEachCpu([(); CPUS].map(|()| Mutex::new(host.block(63))));
    let remapping = enable(&host, During(host.clone(), note), lock);
    let start = Barrier::new(CPUS);
    thread::scope(|scope| {
        for number in 0..CPUS {
            let (remapping, start) = (&remapping, &start);
            scope.spawn(move || {
                CPU.with(|cpu| cpu.number.set(number));
                start.wait();
                for round in 0..50 {
                    let index = u32::try_from(number * 50 + round).unwrap();
                    let mut irte = remapping.map(msix(index)).unwrap();
                    let target = Target::fixed(u32::try_from(number).unwrap(), 0x80);
                    remapping.retarget(&mut irte, target).unwrap();
                    assert_eq!(remapping.verify(&irte).unwrap().target, target);
                    remapping.unmap(irte).unwrap();
                }
            });
        }
    });
    assert_eq!(host.held(), 0);
    let pairs: BTreeSet<_> = used.lock().unwrap().iter().copied().collect();
    let blocks: BTreeSet<_> = pairs.iter().map(|(_, block)| *block).collect();
    assert_eq!((pairs.len(), blocks.len()), (CPUS, CPUS), "each CPU has used its own: {pairs:x?}");
}

/// Holds back the answer to the calls of CPU 1: they are answered, and come back when CPU 0 has seen a later epoch.
#[derive(Clone)]
struct HeldBack(FakeHost, Arc<(Barrier, Barrier)>);

impl Conduit for HeldBack {
    unsafe fn call(&self, block: GuestPhysAddr) -> Status {
        // SAFETY: the caller's promise is the one that is asked for.
        let status = unsafe { self.0.call(block) };
        if CPU.with(|cpu| cpu.number.get()) == 1 {
            self.1.0.wait();
            self.1.1.wait();
        }
        status
    }
}

#[test]
fn an_answer_that_is_older_than_what_another_cpu_has_seen_is_no_violation() {
    let host = host();
    let barriers = Arc::new((Barrier::new(2), Barrier::new(2)));
    let lock = BlockOfEachCpu([Mutex::new(host.block(8)), Mutex::new(host.block(8))]);
    let remapping = enable(&host, HeldBack(host.clone(), Arc::clone(&barriers)), lock);
    let irte = remapping.map(msix(0)).unwrap();
    thread::scope(|scope| {
        let slow = scope.spawn(|| {
            CPU.with(|cpu| cpu.number.set(1));
            remapping.verify(&irte)
        });
        barriers.0.wait();
        host.raise_event(pvir_abi::EventReason::STALE_PAIRS, Some(OTHER));
        assert!(remapping.verify(&irte).is_ok());
        barriers.1.wait();
        assert!(slow.join().unwrap().is_ok());
    });
    assert_eq!(remapping.epoch(), 2);
}

#[test]
fn a_batch_is_split_by_the_block_that_it_gets() {
    struct Alternating([Mutex<BlockMemory>; 2], Mutex<usize>);

    impl BlockLock for Alternating {
        fn with_block<R>(&self, call: impl FnOnce(&mut BlockMemory) -> R) -> R {
            let which = {
                let mut next = self.1.lock().unwrap();
                *next += 1;
                *next % 2
            };
            call(&mut self.0[which].lock().unwrap())
        }
    }

    let host = host();
    let lock = Alternating([Mutex::new(host.block(2)), Mutex::new(host.block(3))], Mutex::new(0));
    let remapping = enable(&host, host.clone(), lock);
    let requests: Vec<_> = (0..20).map(msix).collect();
    let mut results: Vec<_> = requests.iter().map(|_| NOT_MAPPED).collect();
    assert_eq!(remapping.map_batch(&requests, &mut results, BatchMode::Partial), Ok(20));
    assert_eq!(host.calls().iter().filter(|call| **call == Operation::MAP).count(), 8);
    assert!(results.iter().zip(0..).all(|(irte, index)| irte.as_ref().unwrap().origin().index == index));
    let four = [20, 21, 22, 23].map(msix);
    let refused = remapping.map_batch(&four, &mut [const { NOT_MAPPED }; 4], BatchMode::AllOrNothing);
    assert!(matches!(refused, Err(Error::TooMany { requested: 4, max: 2 | 3 })), "{refused:?}");
}
