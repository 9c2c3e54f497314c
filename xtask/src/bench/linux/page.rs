//! What was measured, in the page of figures.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// From the root of the source.
pub(super) const PAGE: &str = "docs/performance.md";
/// Between these lines the page is written anew.
const BEGIN: &str = "<!-- written by ./run.sh bench --linux --record -->";
const END: &str = "<!-- end of what is written -->";

/// Puts the tables, what is to be said beside them, and the pictures into the page: a driver's name and its picture's.
pub(super) fn record(page: &Path, tables: &str, notes: &[String], pictures: &[(&str, String)]) -> Result<()> {
    let text = fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
    let text = replaced(&text, tables, notes, pictures).with_context(|| page.display().to_string())?;
    fs::write(page, text).with_context(|| format!("cannot write {}", page.display()))
}

fn replaced(text: &str, tables: &str, notes: &[String], pictures: &[(&str, String)]) -> Result<String> {
    let (before, rest) = text.split_once(BEGIN).with_context(|| format!("the page has no line {BEGIN}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("the page has no line {END}"))?;
    let notes: String = notes.iter().map(|note| format!("NOTE: {note}\n")).collect();
    let picture = |(driver, file): &(&str, String)| {
        format!("![{driver}: exits for interrupts of each step](pictures/{file}.svg)\n")
    };
    let pictures: String = pictures.iter().map(picture).collect();
    let written = format!("```text\n{}\n{notes}```\n\n{pictures}", tables.trim_end());
    Ok(format!("{before}{BEGIN}\n\n{written}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_lines_is_replaced() {
        let page = format!("# A\n\n{BEGIN}\nold\n{END}\n\n# B\n");
        let write =
            |page: &str| replaced(page, "new\n", &["busy".to_owned()], &[("igb", "linux-igb".to_owned())]);
        let once = write(&page).unwrap();
        let picture = "![igb: exits for interrupts of each step](pictures/linux-igb.svg)";
        let written = format!("```text\nnew\nNOTE: busy\n```\n\n{picture}");
        assert_eq!(once, format!("# A\n\n{BEGIN}\n\n{written}\n\n{END}\n\n# B\n"));
        assert_eq!(write(&once).unwrap(), once);
        assert!(write("# A\n").is_err());
    }

    #[test]
    fn the_page_has_the_lines() {
        let page = fs::read_to_string(crate::build::workspace::root().join(PAGE)).unwrap();
        assert!(replaced(&page, "", &[], &[]).is_ok());
    }
}
