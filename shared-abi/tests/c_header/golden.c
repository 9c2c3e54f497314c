// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Writes three of the golden examples of docs/abi.md, section 12, to stdout: the header of a MAP with
 * two records, the first of them, and a record of ENABLE.
 */
#include "pvir_abi.h"
#include <stdio.h>

int main(void)
{
	const struct pvir_header header = {
		.magic = PVIR_REQUEST_MAGIC,
		.version = PVIR_VERSION_1,
		.operation = PVIR_OP_MAP,
		.flags = PVIR_CALL_ALL_OR_NOTHING,
		.count = 2,
		.status = PVIR_STATUS_PENDING,
	};
	const struct pvir_entry_record entry = {
		.device = PVIR_DEVICE(0, 1 << 3),
		.status = PVIR_STATUS_PENDING,
		.store = PVIR_STORE_MSIX,
		.arch = PVIR_ARCH_X86_APIC,
		.index = 3,
		.count = 1,
		.routing = {
			.destination = 300,
			.vector = 0x51,
			.delivery_mode = PVIR_DELIVERY_FIXED,
			.destination_mode = PVIR_DESTINATION_PHYSICAL,
		},
	};
	const struct pvir_enable_record enable = {
		.status = PVIR_STATUS_PENDING,
		.features = PVIR_FEATURE_MSIX | PVIR_FEATURE_EPOCH,
		.event_area = 0x10203040,
	};

	return fwrite(&header, sizeof(header), 1, stdout) != 1 ||
	       fwrite(&entry, sizeof(entry), 1, stdout) != 1 ||
	       fwrite(&enable, sizeof(enable), 1, stdout) != 1;
}
