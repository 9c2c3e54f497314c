//! Tables. (That of the main job's report is drawn there: titles span its columns.)

use comfy_table::{CellAlignment, Table, presets};

/// Columns without lines: the first to the left, numbers to the right.
pub(crate) fn plain(head: Vec<String>, rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(head).add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
        if column.index > 0 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

/// A table in Markdown, which reads well in a terminal too.
pub(crate) fn markdown(head: Vec<String>, rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN).set_header(head).add_rows(rows);
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> (Vec<String>, Vec<Vec<String>>) {
        let row = |cells: [&str; 2]| cells.map(String::from).to_vec();
        (row(["what", "count"]), vec![row(["one", "1"]), row(["a dozen", "12"])])
    }

    #[test]
    fn numbers_are_on_the_right() {
        let (head, rows) = rows();
        assert_eq!(plain(head, rows), "what     count\none          1\na dozen     12");
    }

    #[test]
    fn markdown_has_a_line_below_the_head() {
        let (head, rows) = rows();
        let text = markdown(head, rows);
        assert!(text.lines().nth(1).is_some_and(|line| line.starts_with("|---")), "{text}");
        assert_eq!(text.lines().count(), 4);
    }
}
