//! Tells the devices under test from the lab's own: each gets a name in QEMU, by which QEMU then says where it is.

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A device as the user asked for it, with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Device {
    /// The argument of QEMU's `-device`.
    pub(super) argument: String,
    /// Its name in QEMU.
    pub(super) id: String,
}

impl Device {
    /// Takes the name in `argument`, or gives it one.
    pub(super) fn new(argument: &str, position: usize) -> Result<Self> {
        let own = format!("pvir-device-{position}");
        if argument.starts_with('{') {
            return Self::from_json(argument, own);
        }
        let given = argument.split(',').find_map(|property| property.strip_prefix("id="));
        Ok(match given {
            Some(id) => Self { argument: argument.to_owned(), id: id.to_owned() },
            None => Self { argument: format!("{argument},id={own}"), id: own },
        })
    }

    fn from_json(argument: &str, own: String) -> Result<Self> {
        let mut json: Value =
            serde_json::from_str(argument).with_context(|| format!("--device {argument} is no JSON"))?;
        let Some(properties) = json.as_object_mut() else { bail!("--device {argument} is no JSON object") };
        let id = properties.entry("id").or_insert_with(|| own.into());
        let id = id.as_str().context("a device's id must be a string")?.to_owned();
        Ok(Self { argument: json.to_string(), id })
    }
}

/// The PCI address of the function named `id` in QEMU's answer to `query-pci`; none if that is no PCI function, or a
/// bridge, which no driver of ours could take.
pub(super) fn address(buses: &Value, id: &str) -> Option<String> {
    let devices = buses.as_array()?.iter().filter_map(|bus| bus["devices"].as_array()).flatten();
    devices.into_iter().find_map(|device| {
        let bridge = &device["pci_bridge"];
        if device["qdev_id"] == id {
            return bridge.is_null().then(|| bdf(device)).flatten();
        }
        address(&Value::Array(vec![bridge.clone()]), id)
    })
}

fn bdf(device: &Value) -> Option<String> {
    let number = |field: &str| device[field].as_u64();
    Some(format!("0000:{:02x}:{:02x}.{:x}", number("bus")?, number("slot")?, number("function")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_keeps_its_name_or_gets_one() {
        let named = Device::new("igb,id=nic,addr=5", 0).unwrap();
        assert_eq!((named.argument.as_str(), named.id.as_str()), ("igb,id=nic,addr=5", "nic"));
        let unnamed = Device::new("edu,dma_mask=0xff", 3).unwrap();
        assert_eq!(unnamed.argument, "edu,dma_mask=0xff,id=pvir-device-3");
        assert_eq!(unnamed.id, "pvir-device-3");
    }

    #[test]
    fn a_device_in_json_keeps_its_name_or_gets_one() {
        let unnamed = Device::new(r#"{"driver":"igb"}"#, 1).unwrap();
        let json: Value = serde_json::from_str(&unnamed.argument).unwrap();
        assert_eq!((json["driver"].as_str(), json["id"].as_str()), (Some("igb"), Some("pvir-device-1")));
        assert_eq!(Device::new(r#"{"driver":"igb","id":"a"}"#, 1).unwrap().id, "a");
        assert!(Device::new("{", 1).is_err());
    }

    #[test]
    fn functions_are_found_on_every_bus_and_bridges_are_not() {
        let buses = serde_json::json!([{"bus": 0, "devices": [
            {"bus": 0, "slot": 30, "function": 0, "qdev_id": "serial"},
            {"bus": 0, "slot": 2, "function": 1, "qdev_id": "port",
             "pci_bridge": {"devices": [{"bus": 18, "slot": 0, "function": 7, "qdev_id": "nic"}]}},
        ]}]);
        assert_eq!(address(&buses, "serial").unwrap(), "0000:00:1e.0");
        assert_eq!(address(&buses, "nic").unwrap(), "0000:12:00.7");
        assert_eq!(address(&buses, "port"), None);
        assert_eq!(address(&buses, "absent"), None);
    }
}
