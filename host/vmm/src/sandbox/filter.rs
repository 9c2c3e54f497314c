//! The seccomp filter of a kind of thread.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

use super::call::{Call, When};
use super::kinds::Kind;
use super::request::Request;

/// The programs of one kind, in the order in which a thread takes them. The strictest answer of all counts.
#[derive(Debug)]
pub(super) struct Filter(Vec<BpfProgram>);

impl Filter {
    /// What is in no list of `kind` has `otherwise`, in a process with the id `pid`.
    ///
    /// # Errors
    /// If the lists cannot be made a program.
    pub(super) fn new(kind: &Kind, otherwise: SeccompAction, pid: u32) -> Result<Self> {
        let mut programs = Vec::new();
        let mut rules = Rules::new();
        for refusal in kind.refused {
            // A kernel that only logs makes every call.
            if otherwise != SeccompAction::Log {
                let refused = SeccompAction::Errno(refusal.errno.cast_unsigned());
                let only = BTreeMap::from([(refusal.number, Vec::new())]);
                programs.push(program(only, SeccompAction::Allow, refused)?);
            }
            // The errno is stricter than this, and less strict than what a call in no list gets.
            rules.insert(refusal.number, None);
        }
        for call in kind.calls.iter().copied().flatten() {
            add(&mut rules, call, pid).with_context(|| format!("{} of {}", call.name, kind.name))?;
        }
        let rules = rules.into_iter().map(|(number, rules)| (number, rules.unwrap_or_default())).collect();
        programs.push(program(rules, otherwise, SeccompAction::Allow)?);
        Ok(Self(programs))
    }

    /// Has the calling thread, and those that it starts, keep to this for good. It may gain no privileges either.
    ///
    /// # Errors
    /// What the kernel says: it may have no seccomp.
    pub(super) fn apply(&self) -> Result<(), seccompiler::Error> {
        self.0.iter().try_for_each(|program| seccompiler::apply_filter(program))
    }
}

fn program(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    matching: SeccompAction,
) -> Result<BpfProgram> {
    let filter = SeccompFilter::new(rules, otherwise, matching, TargetArch::x86_64)?;
    Ok(filter.try_into()?)
}

/// `None` for a call that is allowed whatever its arguments are.
type Rules = BTreeMap<i64, Option<Vec<SeccompRule>>>;

fn add(rules: &mut Rules, call: &Call, pid: u32) -> Result<()> {
    let known = rules.entry(call.number).or_insert_with(|| Some(Vec::new()));
    let more = match call.when {
        When::Always => {
            *known = None;
            return Ok(());
        }
        When::OneOf(at, values) => values.iter().map(|value| rule(&[equal(at, *value)?])).collect(),
        When::OwnProcess(at) => [0, pid].iter().map(|value| rule(&[equal(at, *value)?])).collect(),
        When::Without(at, bits) => rule(&[masked(at, bits, 0)?]).map(|rule| vec![rule]),
        When::With(at, bits) => rule(&[masked(at, bits, bits)?]).map(|rule| vec![rule]),
        When::Requests(requests) => requests.iter().map(|request| rule(&[is(*request)?])).collect(),
        When::RequestsOf(descriptor, requests) => {
            requests.iter().map(|request| rule(&[is(*request)?, equal(0, descriptor)?])).collect()
        }
    };
    if let Some(known) = known {
        known.extend::<Vec<_>>(more?);
    }
    Ok(())
}

fn rule(conditions: &[SeccompCondition]) -> Result<SeccompRule> {
    Ok(SeccompRule::new(conditions.to_vec())?)
}

fn is(request: Request) -> Result<SeccompCondition> {
    equal(1, request.0)
}

fn equal(at: u8, value: u32) -> Result<SeccompCondition> {
    Ok(SeccompCondition::new(at, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value.into())?)
}

fn masked(at: u8, bits: u32, value: u32) -> Result<SeccompCondition> {
    let operator = SeccompCmpOp::MaskedEq(bits.into());
    Ok(SeccompCondition::new(at, SeccompCmpArgLen::Dword, operator, value.into())?)
}
