//! Devices come and go under a Linux that knows of it by ACPI alone: its card goes while its own driver has it, in order and
//! by surprise, another device comes to its place and goes again, and the card comes again and works.

use anyhow::{Context, Result, ensure};

use super::{Console, boot};
use crate::lab::Iommu;
use crate::runner::Verdict;

/// How the card goes: the guest is asked for it, or not.
const WAYS: [&str; 2] = ["", "--force --timeout 0"];

pub(super) fn run() -> Result<Verdict> {
    for way in WAYS {
        let output = boot(Iommu::Intel, [0, 1], &format!("{way}\n"), "pvir.run=unplug", &["-v"])?;
        if output.status.is_none() {
            return Ok(Verdict::Interrupted);
        }
        output.expect_status(0)?;
        let console = Console::of(&output);
        let report = console.report("guest-power-off")?;
        let said = || format!("the console:\n{}\n{}", console.0, String::from_utf8_lossy(&output.stderr));
        ensure!(report["unplugged"] == 2, "{} devices have gone: {}", report["unplugged"], said());
        check(&console, way).with_context(said)?;
    }
    Ok(Verdict::Passed(
        "a card with its own driver goes in order and by surprise; a device comes and goes; the card comes again and works"
            .to_owned(),
    ))
}

fn check(console: &Console, way: &str) -> Result<()> {
    ensure!(console.said("driver ") == Some("igb nic=eth0"), "the card has not its driver");
    console.said("gone: card").context("Linux keeps the card")?;
    ensure!(console.said("came: ") == Some("0x5056 0x0001"), "another device came");
    console.said("gone: emulated").context("Linux keeps the emulated device")?;
    ensure!(console.said("works again: ") == Some("0x8086 0x10c9"), "the card does not work again");
    ensure!(console.all("driver igb ").count() == 2, "the card that came again has not its driver");
    console.said("done").context("the guest's script did not come to its end")?;
    let mut commands = console.0.lines().filter_map(|line| line.strip_prefix("@host pvir "));
    let first = commands.next().context("pvir unplug said nothing")?;
    ensure!(first.ends_with("unasked") != way.is_empty() && first.contains("is unplugged"), "{first}");
    Ok(())
}
