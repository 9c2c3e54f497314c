//! The table of counts, as Markdown, which reads well in a terminal too.

use serde_json::Value;

use crate::table::markdown;

const HEAD: [&str; 9] =
    ["device", "N", "step", "exits: floor", "ours", "trapped", "ioctls: floor", "ours", "trapped"];

/// The table of what the driver has measured; none if it came to none.
pub(super) fn render(data: &Value) -> Option<String> {
    let rows = data["rows"].as_array()?;
    let cells = |row: &Value| {
        let exits = |of: &str| row[of]["exits"].to_string();
        vec![
            row["device"].as_str().unwrap_or_default().to_owned(),
            row["vectors"].to_string(),
            row["step"].as_str().unwrap_or_default().to_owned(),
            exits("floor"),
            exits("ours"),
            exits("trapped"),
            ioctls(&row["floor"]),
            ioctls(&row["ours"]),
            ioctls(&row["trapped"]),
        ]
    };
    Some(markdown(HEAD.map(str::to_owned).to_vec(), rows.iter().map(cells).collect()))
}

/// Count and name of each, without what all of them begin with.
fn ioctls(spent: &Value) -> String {
    let all = spent["ioctls"].as_object().into_iter().flatten();
    let short = |name: &str| {
        name.trim_start_matches("KVM_").trim_start_matches("VFIO_DEVICE_").replace(" (de-assign)", "-")
    };
    let list: Vec<String> = all.map(|(name, count)| format!("{count} {}", short(name))).collect();
    if list.is_empty() { "0".to_owned() } else { list.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_says_exits_and_ioctls_of_all_three() {
        let data = json!({"rows": [{
            "device": "igb", "vectors": 10, "step": "set-up",
            "floor": {"exits": 1, "ioctls": {"KVM_IRQFD": 10}},
            "ours": {"exits": 2, "ioctls": {}},
            "trapped": {"exits": 90, "ioctls": {"KVM_IRQFD (de-assign)": 3, "VFIO_DEVICE_SET_IRQS": 4}},
        }]});
        let text = render(&data).unwrap();
        let cells: Vec<&str> = text.lines().last().unwrap().split('|').map(str::trim).collect();
        let expected =
            ["", "igb", "10", "set-up", "1", "2", "90", "10 IRQFD", "0", "3 IRQFD-, 4 SET_IRQS", ""];
        assert_eq!(cells, expected);
        assert!(render(&Value::Null).is_none());
    }
}
