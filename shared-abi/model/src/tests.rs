//! What the checker takes for granted.

use crate::action::Action;
use crate::area::AreaFlaw;
use crate::design::{Design, Flaw, SCOPES, larger};
use crate::machine::Machine;
use crate::plan::{self, MAX_STEPS, Step};
use crate::properties;
use crate::world::{Kind, World};
use stateright::Model;
use std::collections::BTreeSet;

/// A generator of random numbers (xorshift64*, S. Vigna, 2016).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }
}

/// Walks at random until nothing can happen any more.
fn walk(machine: &Machine, random: &mut Random) -> (World, Vec<Action>) {
    let mut world = machine.init_states()[0];
    let mut way = Vec::new();
    loop {
        let mut actions = Vec::new();
        machine.actions(&world, &mut actions);
        let Some(action) = actions.get(random.below(actions.len().max(1))).copied() else {
            return (world, way);
        };
        world = machine.next_state(&world, action).unwrap();
        way.push(action);
        assert!(way.len() < 2_000, "a run that does not end");
    }
}

/// Liveness is judged where a run ends, so each has to.
#[test]
fn every_run_ends_with_every_choice_made() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for scope in larger() {
        let machine = Machine { design: Design::right(scope) };
        for _ in 0..500 {
            let (world, _) = walk(&machine, &mut random);
            assert_eq!(world.breach, None, "{}", scope.name);
            assert!(machine.properties().iter().all(|property| (property.condition)(&machine, &world)));
        }
    }
}

/// A scope in which something never happens shows nothing about it.
#[test]
fn every_step_is_made_in_some_scope() {
    let mut random = Random(0x1234_5678_9abc_def1);
    let mut made = BTreeSet::new();
    for scope in larger() {
        let machine = Machine { design: Design::right(scope) };
        for _ in 0..300 {
            let mut world = machine.init_states()[0];
            for action in walk(&machine, &mut random).1 {
                if let Action::Step(vm) = action {
                    made.extend(crate::host::next(&machine.design, &world.vms[usize::from(vm)]).map(kind));
                }
                made.insert(name(&action));
                world = machine.next_state(&world, action).unwrap();
            }
        }
    }
    // All actions and all steps.
    assert_eq!(made.len(), 27 + 27, "{made:#?}");
}

fn name(what: &impl std::fmt::Debug) -> String {
    format!("{what:?}").split('(').next().unwrap_or_default().to_owned()
}

fn kind(step: Step) -> String {
    format!("step {}", name(&step))
}

#[test]
fn every_plan_ends_within_the_longest() {
    let (mut world, scope) = (World::default(), SCOPES[0]);
    let kinds = [Kind::Attach, Kind::Detach, Kind::CutOff, Kind::Stale, Kind::Save];
    for flaw in [None].into_iter().chain(Flaw::ALL.iter().map(|row| Some(row.0))) {
        for kind in kinds {
            crate::host::begin(&mut world, 0, kind, 0, None);
            let Some(work) = world.vms[0].work else { panic!("there is work") };
            let noted = crate::world::Work { noted: 0xf, ..work };
            let plan = plan::plan(&Design { flaw, ..Design::right(scope) }, &noted);
            assert!(plan.len() < MAX_STEPS, "{kind:?} with {flaw:?} may have been cut");
        }
    }
}

#[test]
fn every_property_and_every_scope_has_an_error_that_shows_its_teeth() {
    let machine = Machine { design: Design::right(SCOPES[0]) };
    let broken: BTreeSet<_> = Flaw::ALL.iter().map(|row| row.2).collect();
    let names: BTreeSet<_> = machine.properties().iter().map(|property| property.name).collect();
    assert_eq!(broken, names);
    let scopes: BTreeSet<_> = Flaw::ALL.iter().map(|row| row.1).collect();
    assert!(SCOPES.iter().all(|scope| scopes.contains(scope.name)), "{scopes:?}");
    assert_eq!(names.len(), properties::all().len());
}

/// docs/model.md names what is checked: the scopes, the properties, and the errors.
#[test]
fn the_page_has_the_tables() {
    let page = include_str!("../../../docs/model.md");
    let squeezed = page.split_whitespace().collect::<Vec<_>>().join(" ");
    for scope in SCOPES {
        assert!(squeezed.contains(&format!("| {} | {} |", scope.name, scope.about)), "{}", scope.name);
    }
    for (flaw, scope, property, about) in Flaw::ALL {
        assert!(squeezed.contains(&format!("| {flaw:?} | {about} | {scope} | {property} |")), "{flaw:?}");
    }
    for (flaw, about) in AreaFlaw::ALL {
        assert!(squeezed.contains(&format!("| {flaw:?} | {about} |")), "{flaw:?}");
    }
}
