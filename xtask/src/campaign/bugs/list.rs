//! The bugs, each by the change to our own source that brings it back.

use super::{Bug, Replacement};

const GUEST: &str = "pvir-guest";
const HOST: &str = "pvir-host";

/// Bugs of others, as far as pvir has the place where they could be. XSA: Xen security advisory; CH: an issue of Cloud
/// Hypervisor's.
pub(super) const BUGS: &[Bug] = &[
    Bug {
        name: "irqfd-without-route",
        record: "CVE-2017-1000252, CVE-2022-49154",
        about: "a parked entry has an irqfd whose GSI has no route",
        change: Replacement {
            file: "host/src/line/table.rs",
            from: "if line.is_attached() || !self.is_routed(line) {",
            to: "if line.is_attached() {",
        },
        package: HOST,
        test: "service::tests::parking::a_parked_map_has_a_pair_and_neither_route_nor_irqfd",
    },
    Bug {
        name: "parked-by-the-route",
        record: "CH #795",
        about: "parking drops the route and leaves the irqfd, which takes what the eventfd holds",
        change: Replacement {
            file: "host/src/service/retarget.rs",
            from: "            if target.is_some() && !moves_on {\n",
            to: "            if !moves_on {\n",
        },
        package: HOST,
        test: "service::tests::parking::an_entry_parked_again_holds_what_is_raised",
    },
    Bug {
        name: "teardown-without-stop",
        record: "CVE-2022-23035 (XSA-395)",
        about: "UNMAP does not stop the device's interrupt before it takes the irqfd off",
        change: Replacement {
            file: "host/src/line/down.rs",
            from: "        self.stop(devices, owners, &mut errors);\n",
            to: "        let _ = &devices;\n",
        },
        package: HOST,
        test: "service::tests::order::an_unmap_of_one_is_the_reverse",
    },
    Bug {
        name: "irqfd-before-producer",
        record: "CVE-2026-23198",
        about: "UNMAP takes the irqfd off while VFIO is still bound to its eventfd",
        change: Replacement {
            file: "host/src/line/down.rs",
            from: "        self.stop(devices, owners, &mut errors);\n        self.detach_for_good(owners, &mut errors);\n",
            to: "        self.detach_for_good(owners, &mut errors);\n        self.stop(devices, owners, &mut errors);\n",
        },
        package: HOST,
        test: "service::tests::order::an_unmap_of_one_is_the_reverse",
    },
    Bug {
        name: "gsi-leak",
        record: "CVE-2021-3308 (XSA-360), CH #7081",
        about: "the GSI of an entry that is given back is never free again",
        change: Replacement {
            file: "host/src/line/table.rs",
            from: "line.gsi().into_iter().for_each(|gsi| self.gsis.give_back(gsi));\n        drop(line);",
            to: "drop(line);",
        },
        package: HOST,
        test: "service::tests::limits::exhausted_gsis_grant_the_first_ones_and_come_back",
    },
    Bug {
        name: "block-not-rolled-back",
        record: "CVE-2017-15590 (XSA-237), CVE-2024-31143 (XSA-458)",
        about: "the messages of a multi-message MSI that were reserved stay so when a later one fails",
        change: Replacement {
            file: "host/src/service/map.rs",
            from: "                    self.lines.put_back(Lines::Several(lines));\n",
            to: "                    drop(lines);\n",
        },
        package: HOST,
        test: "service::tests::limits::messages_that_do_not_all_get_a_gsi_leave_none_behind",
    },
    Bug {
        name: "eager-allocation",
        record: "CH #7081, #7940",
        about: "one device takes the interrupts of the whole VM",
        change: Replacement {
            file: "host/src/service/map.rs",
            from: "if !fits(attached.held, self.max_irtes_per_device) || !fits(self.held, self.max_irtes) {",
            to: "if !fits(self.held, self.max_irtes) {",
        },
        package: HOST,
        test: "service::tests::limits::the_quota_of_a_device_grants_the_first_ones",
    },
    Bug {
        name: "vector-of-an-exception",
        record: "CVE-2011-1898 (XSA-3), Heckler",
        about: "a guest has vectors 16 to 31 injected, which are the processor's",
        change: Replacement {
            file: "host/src/irte/policy.rs",
            from: "if routing.vector < FIRST_DEVICE_VECTOR\n",
            to: "if routing.vector < FIRST_DEVICE_VECTOR - 16\n",
        },
        package: HOST,
        test: "irte::policy::tests::vectors_of_exceptions_are_refused",
    },
    Bug {
        name: "index-for-apic-id",
        record: "pci-hyperv: LIS #458, FreeBSD fa397e50fd88",
        about: "the number of a vCPU is taken for its APIC id",
        change: Replacement {
            file: "host/src/irte/policy.rs",
            from: "        if self.apic_ids.get(destination as usize) == Some(&destination) {\n            return Ok(destination);\n        }\n",
            to: "        if let Some(id) = self.apic_ids.get(destination as usize) {\n            return Ok(*id);\n        }\n",
        },
        package: HOST,
        test: "irte::policy::tests::broadcast_and_absent_destinations_have_different_statuses",
    },
    Bug {
        name: "table-out-of-bounds",
        record: "CVE-2015-8554 (XSA-164), CVE-2020-13754",
        about: "the entry behind the last one of the physical table is read and written",
        change: Replacement {
            file: "host/src/vfio/msix_table.rs",
            from: "if index >= self.entries {",
            to: "if index > self.entries {",
        },
        package: HOST,
        test: "vfio::msix_table::tests::an_entry_past_the_end_is_refused",
    },
    Bug {
        name: "pair-taken-on-trust",
        record: "CVE-2020-25595 (XSA-337)",
        about: "what a device answers for its pair is believed, in whatever form",
        change: Replacement {
            file: "host/src/vfio/msix_table.rs",
            from: "        self.unit.validate(first).map_err(|what| invalid(format!(\"entry {index}: {what}\")))?;\n",
            to: "        let _ = self.unit;\n",
        },
        package: HOST,
        test: "vfio::msix_table::tests::a_pair_that_is_not_in_the_units_format_is_refused",
    },
    Bug {
        name: "mask-by-the-host",
        record: "CVE-2015-4104 (XSA-129), Xen 68cc3c514a0a",
        about: "after a reset the kernel's cached mask bits stay: entries that the guest had masked send",
        change: Replacement {
            file: "host/src/service/reset.rs",
            from: "            settled.masked = settled.masked.and(attached.device.mask(store, index).map(drop));\n",
            to: "",
        },
        package: HOST,
        test: "service::tests::resets::entries_stay_mapped_and_come_back_masked",
    },
    Bug {
        name: "write-across-registers",
        record: "CVE-2015-4103 (XSA-128)",
        about: "a write across registers is judged by the rule of its first byte",
        change: Replacement {
            file: "host/src/pci/config/space.rs",
            from: "(self.values.get_mut(index), self.writable.get(index))",
            to: "(self.values.get_mut(index), self.writable.get(usize::from(offset)))",
        },
        package: HOST,
        test: "pci::config::space::tests::writes_are_decoded_by_byte",
    },
    Bug {
        name: "registers-by-default",
        record: "XSA-131, XSA-124",
        about: "registers that no list has are the device's own",
        change: Replacement {
            file: "host/src/pci/config/space.rs",
            from: "            live: [None; SIZE],\n",
            to: "            live: [Some(0); SIZE],\n",
        },
        package: HOST,
        test: "pci::config::filter::tests::capabilities_that_are_not_on_the_list_are_unlinked",
    },
    Bug {
        name: "log-without-end",
        record: "CVE-2015-8552 (XSA-157), XSA-130",
        about: "each failure that a guest causes is a line of the log",
        change: Replacement {
            file: "host/src/log_limit.rs",
            from: "    if asked > max {\n",
            to: "    if asked == u64::MAX {\n",
        },
        package: HOST,
        test: "log_limit::tests::lines_past_the_limit_are_not_even_formatted",
    },
    Bug {
        name: "no-source-id",
        record: "Following the White Rabbit (2011); intremap=nosid",
        about: "a host that does not verify who sent a message is taken for an isolated one",
        change: Replacement {
            file: "host/src/isolation/switches.rs",
            from: "    (\"intremap\", \"nosid\", Refusal::NO_SOURCE_ID, \"interrupt remapping does not verify the source id\"),\n",
            to: "",
        },
        package: HOST,
        test: "isolation::switches::tests::switches_that_weaken_the_host_are_found",
    },
    Bug {
        name: "behind-a-bridge",
        record: "CVE-2012-5634 (XSA-33), CVE-2013-1952 (XSA-49)",
        about: "a device behind a bridge to conventional PCI, which sends under the bridge's id, is taken",
        change: Replacement {
            file: "host/src/isolation/requester.rs",
            from: "const PORTS: [u8; 3] = [4, 5, 6];",
            to: "const PORTS: [u8; 4] = [4, 5, 6, 7];",
        },
        package: HOST,
        test: "isolation::requester::tests::ports_are_let_pass_and_nothing_else_is",
    },
    Bug {
        name: "phantom-functions",
        record: "CVE-2023-46839 (XSA-449)",
        about: "a device with phantom functions switched on is taken",
        change: Replacement {
            file: "host/src/pci/capability.rs",
            from: "            self.dword(offset + 4) & SUPPORTED != 0 && self.word(offset + 8) & ENABLE != 0\n",
            to: "            self.dword(offset + 4) & SUPPORTED == u32::MAX && self.word(offset + 8) & ENABLE != 0\n",
        },
        package: HOST,
        test: "isolation::phantom::tests::refused_only_where_they_are_there_and_on",
    },
    Bug {
        name: "shared-page",
        record: "CVE-2024-31146 (XSA-461)",
        about: "the page of a BAR that holds another function's registers is mapped into the guest",
        change: Replacement {
            file: "host/src/isolation/pages.rs",
            from: "    bar.start() & !(PAGE - 1)..=bar.end() | (PAGE - 1)\n",
            to: "    *bar.start()..=*bar.end()\n",
        },
        package: HOST,
        test: "isolation::pages::tests::another_functions_bar_in_the_page_is_refused_by_name_unless_it_is_the_vms_too",
    },
    Bug {
        name: "handles-of-a-vm-before",
        record: "hv_pci_restore_msi_msg (04bbe863241a), CH PR #8303",
        about: "a VM that was restored gives the handles again that it had given before",
        change: Replacement {
            file: "host/src/irte/table.rs",
            from: "Slot { generation: (*generation).max(1), irte: None }",
            to: "Slot { generation: (*generation).min(1), irte: None }",
        },
        package: HOST,
        test: "irte::table::tests::a_table_that_goes_on_gives_no_handle_again",
    },
    Bug {
        name: "retarget-without-limit",
        record: "O(n) KVM_SET_GSI_ROUTING; CVE-2023-31364",
        about: "a guest has as much done for it as it likes",
        change: Replacement {
            file: "host/src/service/rate/bucket.rs",
            from: "        self.refill(now, share);\n        self.balance >= 0\n",
            to: "        self.refill(now, share);\n        true\n",
        },
        package: HOST,
        test: "service::tests::rate::who_is_in_debt_is_refused_before_anything_is_done",
    },
    Bug {
        name: "pair-written-unmasked",
        record: "Linux 6f1a4891a592",
        about: "address and data are written while the entry may send, and a message has half of each",
        change: Replacement {
            file: "guest/src/entry.rs",
            from: "        mask(&self.store)?;\n        self.store.write(irte.pair);\n",
            to: "        self.store.write(irte.pair);\n",
        },
        package: GUEST,
        test: "tests::stores::a_pair_is_written_masked_also_where_the_host_has_unmasked_the_entry",
    },
    Bug {
        name: "mask-not-read-back",
        record: "PCI/MSI series of August 2021 (Linux 5.14)",
        about: "the write of the mask is not pushed out, so that a message comes after it",
        change: Replacement {
            file: "guest/src/entry.rs",
            from: "    match store.mask() {\n        Some(Mask::Clear)",
            to: "    match Some(Mask::Set) {\n        Some(Mask::Clear)",
        },
        package: GUEST,
        test: "tests::stores::a_mask_that_is_stuck_is_found_at_claim",
    },
    Bug {
        name: "vector-by-the-host",
        record: "Heckler (USENIX Security 2024)",
        about: "a guest believes a host that names one of the processor's own vectors",
        change: Replacement {
            file: "guest/src/irte.rs",
            from: "            && route.vector >= pvir_abi::FIRST_DEVICE_VECTOR;\n",
            to: "            && route.vector >= 1;\n",
        },
        package: GUEST,
        test: "irte::tests::a_vector_of_the_processors_own_is_no_target",
    },
];
