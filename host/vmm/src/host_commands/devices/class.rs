//! Names of PCI classes: PCI Code and ID Assignment Specification, Rev. 1.15, section 1.

/// The name of a class code, by its upper two bytes or its first one.
pub(crate) fn name(class: u32) -> &'static str {
    match class >> 8 {
        0x0100 => "SCSI controller",
        0x0101 => "IDE controller",
        0x0106 => "SATA controller",
        0x0107 => "SAS controller",
        0x0108 => "NVMe controller",
        0x0200 => "network controller",
        0x0300 => "VGA display",
        0x0302 => "3D controller",
        0x0403 => "audio device",
        0x0600 => "host bridge",
        0x0601 => "ISA bridge",
        0x0604 => "PCI bridge",
        0x0680 => "other bridge",
        0x0700 => "serial port",
        0x0780 => "communication device",
        0x0c03 => "USB controller",
        0x0c05 => "SMBus",
        0x0c06 => "InfiniBand controller",
        _ => match class >> 16 {
            0x00 | 0xff => "unclassified device",
            0x01 => "mass storage controller",
            0x02 => "network controller",
            0x03 => "display controller",
            0x04 => "multimedia device",
            0x05 => "memory controller",
            0x06 => "bridge",
            0x07 => "communication device",
            0x08 => "system peripheral",
            0x0b => "processor",
            0x0c => "serial bus controller",
            0x0d => "wireless controller",
            0x10 => "encryption controller",
            0x11 => "signal processing controller",
            0x12 => "processing accelerator",
            _ => "device",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn the_nearest_name_is_taken() {
        assert_eq!(name(0x02_0000), "network controller");
        assert_eq!(name(0x02_8000), "network controller");
        assert_eq!(name(0x01_0802), "NVMe controller");
        assert_eq!(name(0x00_ff00), "unclassified device");
        assert_eq!(name(0x0c_8000), "serial bus controller");
    }
}
