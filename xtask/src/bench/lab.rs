//! Devices passed through in the nested lab: `pvir` beside QEMU and Cloud Hypervisor, on the same host, in turn.

use anyhow::{Context, Result, bail};

use super::figures::Figures;
use super::peers::{CloudHypervisor, Peers};
use super::plan::Plan;
use super::run_figures::RunFigures;
use super::what::{Subject, Testbed, Way};
use crate::build::Programs;
use crate::lab::setup::Setup;
use crate::lab::{self, Iommu, Outcome, Streams};
use crate::progress::step;

/// Runs in L1; marks where each run begins.
const SCRIPT: &str = include_str!("l1.sh");
/// The devices: each has its name in figures, and how QEMU makes it for L1.
const DEVICES: [(&str, &str); 2] = [("igb", "igb"), ("nvme", "nvme,serial=bench")];
/// All vectors of each, which is what its figures are judged by.
pub(super) const VECTORS: [(&str, u32); 2] = [("igb", 10), ("nvme", 65)];
/// For the VMMs that travel along and unpack in memory.
const MEMORY: &str = "2G";

/// Measures; answers with the peers that took part.
pub(super) fn measure(
    programs: &Programs,
    plan: &Plan,
    cloud_hypervisor: Option<&CloudHypervisor>,
    figures: &mut Figures,
) -> Result<Peers> {
    let setup = Setup::ready()?;
    let peers = Peers::collect(&setup, cloud_hypervisor)?;
    let names: Vec<&str> = DEVICES.iter().map(|(name, _)| *name).collect();
    let ways: Vec<&str> = peers.ways().map(Way::name).collect();
    let options = lab::Options {
        iommu: Iommu::Intel,
        devices: DEVICES.iter().map(|(_, argument)| (*argument).to_owned()).collect(),
        payload: Some(peers.folder().to_path_buf()),
        memory: MEMORY.into(),
        ..lab::Options::default()
    };
    let (subjects, ways_word, words) = (subjects(plan).join(" "), ways.join(" "), plan.words(Testbed::Lab));
    let [least, most] = [plan.at_least, plan.repeats].map(|times| times.to_string());
    let limit = plan.limit.as_secs().to_string();
    let argv =
        ["sh", "-c", SCRIPT, "sh", &subjects, &ways_word, &least, &most, &limit, &words].map(Into::into);
    let what = format!("{} passed through, {} times, {ways_word} in turn", names.join(" "), plan.repeats);
    let text = step("the nested lab", what, || {
        let (streams, stdout, stderr) = Streams::captured(b"");
        match lab::run_with(&setup, programs, &options, &argv, streams)? {
            Outcome::Ended(0) => Ok(String::from_utf8_lossy(&stdout.take()).replace('\r', "")),
            other => bail!("{other:?}: {}", String::from_utf8_lossy(&stderr.take())),
        }
    })?;
    read(&text, &names, figures)?;
    Ok(peers)
}

/// What is measured: a device and its vectors, in the order of the devices.
fn subjects(plan: &Plan) -> Vec<String> {
    let sizes = |name: &str| if name == "nvme" { plan.lab_sizes } else { &[] };
    let of_device = |(name, all): (&'static str, u32)| {
        let vectors = sizes(name).iter().copied().chain([all]);
        vectors.map(move |vectors| format!("{name}:{vectors}"))
    };
    VECTORS.into_iter().flat_map(of_device).collect()
}

fn read(text: &str, names: &[&'static str], figures: &mut Figures) -> Result<()> {
    for run in text.split("@run ").skip(1) {
        let (head, body) = run.split_once('\n').context("a run without output")?;
        let mut words = head.split_whitespace();
        let device = words.next().and_then(|word| names.iter().find(|name| **name == word));
        let way = words.next().and_then(|word| Way::ALL.into_iter().find(|way| way.name() == word));
        let (Some(device), Some(way)) = (device, way) else { bail!("a run of something else: {head}") };
        let run = RunFigures::read(body, way.mode()).with_context(|| head.to_owned())?;
        let vectors = run.rounds.first().context("no round")?.vectors;
        figures.add(&Subject { place: Testbed::Lab, device, vectors }, way, &run);
    }
    Ok(())
}
