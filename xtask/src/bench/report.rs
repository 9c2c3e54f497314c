//! The figures for programs.

use serde_json::{Map, Value, json};

use super::aims::Aim;
use super::figures::Figures;
use super::machine::Machine;
use super::process::Times;
use super::what::{Action, Way};

/// Everything, with the ratios to the direct way.
pub(super) fn json(
    figures: &Figures,
    times: Option<&Times>,
    machine: &Machine,
    aims: &[Aim],
    skipped: &[String],
) -> Value {
    let subjects: Vec<Value> = figures
        .subjects()
        .into_iter()
        .map(|subject| {
            let mut ways = Map::new();
            for way in Way::ALL {
                let actions: Map<String, Value> = Action::ALL
                    .into_iter()
                    .filter_map(|action| {
                        let spread = figures.get(subject, action, way)?;
                        let ratio = figures.ratio(subject, action, way);
                        Some((action.name().to_owned(), json!({"cycles": spread, "ratio": ratio})))
                    })
                    .collect();
                if !actions.is_empty() {
                    let histogram = figures.latency(subject, way);
                    ways.insert(way.name().into(), json!({"actions": actions, "latency": histogram}));
                }
            }
            json!({"subject": subject, "runs": figures.runs(subject), "ways": ways})
        })
        .collect();
    json!({"schema": 2, "machine": machine, "process": times, "subjects": subjects, "aims": aims, "skipped": skipped})
}
