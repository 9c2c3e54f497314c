//! A lab that fails says so, and a command that fails is not taken for one.

use anyhow::{Result, bail, ensure};

use super::in_lab;
use crate::lab::Options;
use crate::runner::{Step, Verdict};

pub(super) const CASE: Step = Step {
    name: "lab/failures",
    about: "crash and reset of L1, unknown device, killed and absent commands",
    run,
};

fn run() -> Result<Verdict> {
    let plain = Options::default();

    let crash = in_lab(&plain, &["sh", "-c", "echo c > /proc/sysrq-trigger"], b"");
    let Err(error) = crash else { bail!("L1 crashed, and the lab did not fail") };
    ensure!(format!("{error:#}").contains("Kernel panic"), "the end of the console is not shown:\n{error:#}");

    let reset = in_lab(&plain, &["sh", "-c", "echo b > /proc/sysrq-trigger; sleep 60"], b"");
    let Err(error) = reset else { bail!("L1 was reset twice, and the lab did not fail") };
    ensure!(format!("{error:#}").contains("for the second time"), "it was not started again:\n{error:#}");

    let unknown = Options { devices: vec!["no-such-device".into()], ..plain.clone() };
    let Err(error) = in_lab(&unknown, &["true"], b"") else { bail!("an unknown device was accepted") };
    ensure!(format!("{error:#}").contains("no-such-device"), "QEMU's message is not shown:\n{error:#}");

    let endless = Options { timeout: Some(6), ..plain.clone() };
    let Err(error) = in_lab(&endless, &["sleep", "100"], b"") else { bail!("the time limit did not end it") };
    ensure!(format!("{error:#}").contains("did not end in 6 s"), "{error:#}");

    in_lab(&plain, &["no-such-command"], b"")?.expect_status(lab_wire::EXIT_NOT_FOUND)?;
    in_lab(&plain, &["/proc/version"], b"")?.expect_status(lab_wire::EXIT_NOT_EXECUTABLE)?;
    in_lab(&plain, &["sh", "-c", "kill -TERM $$"], b"")?.expect_status(128 + 15)?;
    Ok(Verdict::passed())
}
