/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * pvir: paravirtual interrupt remapping, the contract, version 1, for guests and hosts in C.
 *
 * docs/abi.md is the specification. Letters and numbers in parentheses, such as (B1), are those
 * of its statements. shared-abi/tests/c_header.rs compares every number, size and offset here with
 * the crate pvir-abi, and that crate is compared with the page.
 *
 * C11 or C++17, without a library: only the types of fixed width are taken from <stdint.h>, or in
 * the Linux kernel from <linux/types.h>. All fields are little-endian, and so must be whoever takes
 * the structures as they are.
 *
 * "in" is written by the guest, "out" by the host. Before a call the guest writes
 * PVIR_STATUS_PENDING to each status and zero to every other field that it does not give (B5).
 */
#ifndef PVIR_ABI_H
#define PVIR_ABI_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stdint.h>
#endif

/* Version of the contract (section 4): goes into each header. */
#define PVIR_VERSION_1			1

/*
 * Discovery (section 1, D1 to D5): CPUID leaves base, base + 1, base + 2, at the first base of
 * PVIR_CPUID_BASE_MIN, + PVIR_CPUID_BASE_STEP, ... PVIR_CPUID_BASE_MAX whose EBX, ECX and EDX are
 * the signature each, and whose EAX is at least base + 2. CPUID.1:ECX bit 31 must be set.
 *
 * base + 1: EAX oldest version (15:0) and newest (31:16), EBX features 31:0, ECX features 63:32,
 *           EDX most records in a call
 * base + 2: EAX conduits, EBX index of the MSR, ECX 15:0 port, EDX number of the hypercall
 */
#define PVIR_CPUID_SIGNATURE		0x52495650u	/* "PVIR" */
#define PVIR_CPUID_BASE_MIN		0x40000000u
#define PVIR_CPUID_BASE_MAX		0x4000ff00u
#define PVIR_CPUID_BASE_STEP		0x100u

/*
 * Conduits (section 2): all carry the guest physical address of a block, and answer with the status
 * in the low 32 bits (C3, C8). The guest takes the first that it has of VMCALL or VMMCALL, MSR,
 * PORT (C9), and no MSR or port outside of these ranges (D5).
 */
#define PVIR_CONDUIT_VMCALL		(1u << 0)	/* RAX = PVIR_HYPERCALL, RDI = address */
#define PVIR_CONDUIT_VMMCALL		(1u << 1)	/* the same */
#define PVIR_CONDUIT_MSR		(1u << 2)	/* WRMSR: address, RDMSR: status */
#define PVIR_CONDUIT_PORT		(1u << 3)	/* OUT of address >> 12, IN of the status */
#define PVIR_CONDUIT_GHCB		(1u << 4)	/* not served in version 1 */
#define PVIR_CONDUIT_TDVMCALL		(1u << 5)	/* not served in version 1 */

#define PVIR_HYPERCALL			0x50564952u
#define PVIR_MSR_MIN			0x50560000u
#define PVIR_MSR_MAX			0x505600ffu
#define PVIR_PORT_MIN			0x5050u
#define PVIR_PORT_MAX			0x505cu
#define PVIR_PORT_STEP			4u
#define PVIR_PORT_ADDRESS_SHIFT		12

/* The request block (section 3, B1 to B6): a header and up to PVIR_MAX_RECORDS records. */
#define PVIR_REQUEST_MAGIC		0x51525650u	/* "PVRQ" */
#define PVIR_BLOCK_ALIGN		4096u		/* (B1) */
#define PVIR_RECORD_LEN			64u
#define PVIR_MAX_RECORDS		512u		/* EDX of leaf base + 1 may be less */
#define PVIR_BLOCK_LEN(records)		(PVIR_RECORD_LEN + (records) * PVIR_RECORD_LEN)
#define PVIR_EVENT_AREA_ALIGN		64u		/* (E3) */
#define PVIR_FIRST_DEVICE_VECTOR	32u		/* vectors are 32 to 255 (BAD_VECTOR) */

/*
 * The field device of every record (I1): segment in bits 15:0, BDF in bits 31:16, as the guest's
 * own configuration space has them. In an event PVIR_EVERY_DEVICE stands for all of them.
 */
#define PVIR_DEVICE(segment, bdf)	((uint32_t)(segment) | (uint32_t)(bdf) << 16)
#define PVIR_EVERY_DEVICE		0xffffffffu

/* Operations (section 5). The records: one, one, none, then 1 to PVIR_MAX_RECORDS each. */
#define PVIR_OP_FEATURES	1
#define PVIR_OP_ENABLE		2
#define PVIR_OP_DISABLE		3
#define PVIR_OP_DEVICE_INFO	4
#define PVIR_OP_MAP		5
#define PVIR_OP_RETARGET	6
#define PVIR_OP_UNMAP		7
#define PVIR_OP_QUERY		8
#define PVIR_OP_ATTACH		9
#define PVIR_OP_DETACH		10

/* Flags of a call: header.flags (O3, O6). */
/* MAP, RETARGET, UNMAP: one fails, nothing is done (O3) */
#define PVIR_CALL_ALL_OR_NOTHING	(1u << 0)

/* Features (section 4): offered in CPUID, taken with ENABLE (E1). */
#define PVIR_FEATURE_MSI			(1ull << 0)	/* store kind MSI, one message */
/* store kind MSI-X, the table mapped into the guest */
#define PVIR_FEATURE_MSIX			(1ull << 1)
#define PVIR_FEATURE_IMS			(1ull << 2)	/* store kind IMS */
#define PVIR_FEATURE_MSI_MULTI			(1ull << 3)	/* multi-message MSI */
/* entries may be mapped parked, and parked again */
#define PVIR_FEATURE_PARKING			(1ull << 4)
/* the event area: an epoch that is read without an exit */
#define PVIR_FEATURE_EPOCH			(1ull << 5)
/* events are announced on a vector; needs EPOCH */
#define PVIR_FEATURE_NOTIFY			(1ull << 6)
/* logical destination mode, where it resolves to one vCPU */
#define PVIR_FEATURE_LOGICAL_DESTINATION	(1ull << 7)
/* lowest-priority delivery, where it resolves to one vCPU */
#define PVIR_FEATURE_LOWEST_PRIORITY		(1ull << 8)
/* the redirection hint, where it resolves to one vCPU */
#define PVIR_FEATURE_REDIRECTION_HINT		(1ull << 9)
/* devices are handed over one at a time, see ATTACH and DETACH */
#define PVIR_FEATURE_ATTACH			(1ull << 10)

/* Reasons of a refusal, by ENABLE (E6) or ATTACH (A2). */
#define PVIR_REFUSAL_NONE		0	/* not refused */
#define PVIR_REFUSAL_NO_REMAPPING	1	/* interrupt remapping is off on the host */
/* interrupt remapping does not verify the source id */
#define PVIR_REFUSAL_NO_SOURCE_ID	2
/* the kernel was told to assume isolation that hardware lacks */
#define PVIR_REFUSAL_ACS_OVERRIDDEN	3
/* VFIO may use devices without interrupt isolation */
#define PVIR_REFUSAL_UNSAFE_INTERRUPTS	4
#define PVIR_REFUSAL_NO_IOMMU		5	/* the device is used without an IOMMU */
/* the IOMMU group is shared with something outside of the VM */
#define PVIR_REFUSAL_SHARED_GROUP	6
#define PVIR_REFUSAL_ALIASED_REQUESTER	7	/* the device's requester id is not its own */
/* the table's page holds something that the guest must not reach */
#define PVIR_REFUSAL_SHARED_PAGE	8
#define PVIR_REFUSAL_POLICY		9	/* the host's administrator forbade it */
/* the host's kernel has a known defect in this path */
#define PVIR_REFUSAL_KERNEL_DEFECT	10
/* the host cannot map the MSI-X table into the guest */
#define PVIR_REFUSAL_TABLE_NOT_MAPPABLE	11

/* Store kinds, entry.store and entry.index. */
#define PVIR_STORE_MSI	1	/* index 0 */
#define PVIR_STORE_MSIX	2	/* index of the table entry, 0 to 2047 */
#define PVIR_STORE_IMS	3	/* index of the device's IMS entry (M8) */

/* Store kinds that a device has: device_info.stores, bit n is the kind n. */
#define PVIR_STORES_MSI		(1u << 1)	/* the MSI capability */
#define PVIR_STORES_MSIX	(1u << 2)	/* the MSI-X table */
#define PVIR_STORES_IMS		(1u << 3)	/* any other place */

/* device_info.flags (I3). */
/* the table is mapped into the guest with ENABLE or ATTACH */
#define PVIR_DEVICE_FLAG_DIRECT		(1u << 0)
/* entries come and go one by one (I3, and the table of the page) */
#define PVIR_DEVICE_FLAG_DYNAMIC	(1u << 1)
#define PVIR_DEVICE_FLAG_EMULATED	(1u << 2)	/* the VMM itself is the remapping unit */
/* the guest has taken the device with ATTACH (A1) */
#define PVIR_DEVICE_FLAG_ATTACHED	(1u << 3)

/* entry.flags (J2, M6, R3): arch and routing are zero with it. */
#define PVIR_ENTRY_PARKED	(1u << 0)

/* entry.state, of the answer. */
#define PVIR_STATE_PARKED	(1u << 0)	/* the entry has no destination */
#define PVIR_STATE_MASKED	(1u << 1)	/* the host left the entry's mask bit set (M3) */
/* the same request was made before, this is its answer again (M5) */
#define PVIR_STATE_EXISTING	(1u << 2)

/* entry.arch: what the 16 bytes of routing mean (J1). */
#define PVIR_ARCH_X86_APIC	1	/* struct pvir_routing */
#define PVIR_ARCH_ARM_ITS	2	/* reserved; not served in version 1 */

/* routing.delivery_mode and routing.destination_mode (L1 to L4). */
#define PVIR_DELIVERY_FIXED		0
#define PVIR_DELIVERY_LOWEST_PRIORITY	1	/* needs LOWEST_PRIORITY */
#define PVIR_DELIVERY_SMI		2	/* never served */
#define PVIR_DELIVERY_NMI		4	/* never served */
#define PVIR_DELIVERY_INIT		5	/* never served */
#define PVIR_DELIVERY_EXTINT		7	/* never served */
#define PVIR_DESTINATION_PHYSICAL	0
#define PVIR_DESTINATION_LOGICAL	1	/* needs LOGICAL_DESTINATION */
#define PVIR_HINT_REDIRECTION		(1u << 0)	/* routing.hint: needs REDIRECTION_HINT */

/* event_area.reason (section 8, V1 to V12). */
#define PVIR_EVENT_NONE			0	/* nothing since ENABLE */
#define PVIR_EVENT_STALE_PAIRS		1	/* MAP again, program again (V8) */
#define PVIR_EVENT_DEVICE_GONE		2	/* unplugged: forget its handles (V9) */
/* a storm: reset the device, MAP again (V10, V11) */
#define PVIR_EVENT_DEVICE_CUT_OFF	3

/*
 * Statuses (section 9): below 0x40 of calls and of records, from 0x40 on of records. A guest takes
 * one that it does not know for a failure.
 */
/* the call, or this record, was carried out */
#define PVIR_STATUS_OK				0x00u
/* some records failed, the others were carried out (O2) */
#define PVIR_STATUS_PARTIAL			0x01u
/* another record failed and ALL_OR_NOTHING was set (O3) */
#define PVIR_STATUS_ABORTED			0x02u
/* the block or the event area leaves guest RAM (B1, E3) */
#define PVIR_STATUS_BAD_ADDRESS			0x10u
/* block: 4096 bytes (B1); event area: 64 (E3) */
#define PVIR_STATUS_UNALIGNED			0x11u
#define PVIR_STATUS_PRIVILEGE			0x12u	/* the caller's CPL is not 0 (C4) */
/* the header does not start with the magic number */
#define PVIR_STATUS_BAD_MAGIC			0x13u
#define PVIR_STATUS_BAD_VERSION			0x14u	/* the host does not speak this version */
#define PVIR_STATUS_BAD_OPERATION		0x15u	/* unknown operation */
/* unknown, or not taken by this operation (O6) */
#define PVIR_STATUS_BAD_FLAGS			0x16u
/* a reserved or untaken field is not zero (B5) */
#define PVIR_STATUS_RESERVED_NOT_ZERO		0x17u
/* 0, too many, or not what the operation takes */
#define PVIR_STATUS_BAD_COUNT			0x18u
#define PVIR_STATUS_NOT_ENABLED			0x19u	/* the operation needs ENABLE first */
#define PVIR_STATUS_ALREADY_ENABLED		0x1au	/* ENABLE while enabled */
/* ENABLE asks for what is not offered (E1) */
#define PVIR_STATUS_UNSUPPORTED_FEATURE		0x1bu
#define PVIR_STATUS_REFUSED			0x1cu	/* not this VM; the record says why */
#define PVIR_STATUS_RATE_LIMITED		0x1du	/* wait and call again (O7) */
/* the host failed; state is as before, but see U3 */
#define PVIR_STATUS_HOST_ERROR			0x1eu
/* no interrupt can be sent to that vector or APIC id (E2) */
#define PVIR_STATUS_BAD_NOTIFY			0x1fu
#define PVIR_STATUS_NO_DEVICE			0x40u	/* no such device in this VM */
#define PVIR_STATUS_BAD_STORE			0x41u	/* unknown store kind */
/* no such store, or its feature was not enabled */
#define PVIR_STATUS_STORE_UNSUPPORTED		0x42u
/* the index is beyond the store's last entry */
#define PVIR_STATUS_BAD_INDEX			0x43u
/* not a number of messages that the store takes (M10) */
#define PVIR_STATUS_BAD_MESSAGE_COUNT		0x44u
/* unknown architecture tag of the routing */
#define PVIR_STATUS_BAD_ARCH			0x45u
/* 0 to 31, over 255, or not aligned (M10) */
#define PVIR_STATUS_BAD_VECTOR			0x46u
#define PVIR_STATUS_BAD_DESTINATION		0x47u	/* no vCPU has this APIC id */
#define PVIR_STATUS_BROADCAST			0x48u	/* the destination is a broadcast id */
/* unknown, or its feature was not enabled */
#define PVIR_STATUS_BAD_DESTINATION_MODE	0x49u
#define PVIR_STATUS_BAD_DELIVERY_MODE		0x4au	/* unknown, never served, or not enabled */
#define PVIR_STATUS_AMBIGUOUS_DESTINATION	0x4bu	/* more than one vCPU (L3) */
#define PVIR_STATUS_ALREADY_MAPPED		0x50u	/* mapped with another routing (M5) */
#define PVIR_STATUS_STALE_HANDLE		0x51u	/* released, or an epoch has passed (H2) */
/* the handle is that of another entry (H2) */
#define PVIR_STATUS_HANDLE_MISMATCH		0x52u
#define PVIR_STATUS_DEVICE_GONE			0x53u	/* unplugged (V9) */
#define PVIR_STATUS_DEVICE_CUT_OFF		0x54u	/* cut off for an interrupt storm (V10) */
/* an MSI-X and an IMS entry share one interrupt (M11) */
#define PVIR_STATUS_BACKING_IN_USE		0x55u
/* ATTACH was taken, the device is not attached (A1) */
#define PVIR_STATUS_NOT_ATTACHED		0x56u
#define PVIR_STATUS_ALREADY_ATTACHED		0x57u	/* ATTACH of a device that is attached */
#define PVIR_STATUS_NO_QUOTA			0x60u	/* the quota of IRTEs is used up */
#define PVIR_STATUS_NO_GSI			0x61u	/* the host has no GSI left for this VM */
#define PVIR_STATUS_NO_HOST_VECTOR		0x62u	/* the host has no vector or IRTE left */
#define PVIR_STATUS_DEVICE_ERROR		0x63u	/* the host's driver refused (U3) */
/* the pair that the host read was malformed */
#define PVIR_STATUS_BAD_PAIR			0x64u
#define PVIR_STATUS_PENDING			0xffffffffu	/* the guest's, before a call */

/* The header of a block (section 3, "Header"; B2 to B6). */
struct pvir_header {
	uint32_t magic;			/* in: PVIR_REQUEST_MAGIC */
	uint16_t version;		/* in: version that the guest speaks */
	uint16_t operation;		/* in: PVIR_OP_* */
	uint32_t flags;			/* in: PVIR_CALL_* */
	uint32_t count;			/* in: number of records */
	uint32_t status;		/* out: status of the call */
	uint32_t done;			/* out: number of records with status OK */
	uint64_t epoch;			/* out: the VM's epoch, 0 while not enabled */
	uint64_t reserved[4];		/* in: zero */
};

/* The record of FEATURES (F1 to F3). */
struct pvir_features_record {
	uint32_t reserved0;		/* in: zero */
	uint32_t status;		/* out */
	uint16_t oldest;		/* out: oldest version */
	uint16_t newest;		/* out: newest version */
	uint32_t max_records;		/* out: most records in one call */
	uint64_t features;		/* out: features offered */
	uint64_t enabled;		/* out: features enabled, 0 while not enabled */
	uint32_t max_apic_id;		/* out: highest APIC id of a vCPU, see F3 */
	uint32_t max_irtes;		/* out: most IRTEs that the VM may hold */
	uint32_t irtes;			/* out: IRTEs that the VM holds */
	uint32_t devices;		/* out: devices that the VM may ask for, see F3 */
	uint32_t conduits;		/* out: as in CPUID */
	uint32_t reserved1;		/* in: zero */
	uint64_t reserved2;		/* in: zero */
};

/* The record of ENABLE (E1 to E9). */
struct pvir_enable_record {
	uint32_t device;		/* out */
	uint32_t status;		/* out */
	uint64_t features;		/* in: features that the guest takes */
	uint64_t event_area;		/* in: address of the event area, 0 for none */
	uint32_t notify_apic_id;	/* in: APIC id for announcements */
	uint32_t notify_vector;		/* in: vector for announcements, 0 for none */
	uint32_t refusal;		/* out: PVIR_REFUSAL_* */
	uint32_t reserved0;		/* in: zero */
	uint64_t reserved1[3];		/* in: zero */
};

/* The record of DEVICE_INFO (I1 to I8). */
struct pvir_device_record {
	uint32_t device;		/* in */
	uint32_t status;		/* out */
	uint32_t stores;		/* out: PVIR_STORES_* */
	uint32_t flags;			/* out: PVIR_DEVICE_FLAG_* */
	uint32_t msix_entries;		/* out: entries of the MSI-X table that may be mapped */
	uint32_t msi_messages;		/* out: messages of the MSI capability that may be mapped */
	uint32_t ims_entries;		/* out: IMS entries that may be mapped, see M11 */
	uint32_t max_irtes;		/* out: most IRTEs that the device may hold */
	uint32_t irtes;			/* out: IRTEs that the device holds */
	uint32_t reserved0;		/* in: zero */
	uint64_t reserved1[3];		/* in: zero */
};

/* The record of ATTACH and of DETACH (A1 to A8). */
struct pvir_attach_record {
	uint32_t device;		/* in: PVIR_DEVICE() */
	uint32_t status;		/* out */
	uint32_t refusal;		/* out: with REFUSED the reason, as for ENABLE */
	uint32_t reserved0;		/* in: zero */
	uint64_t reserved1[6];		/* in: zero */
};

/* Where an interrupt goes, for PVIR_ARCH_X86_APIC (L1 to L6). */
struct pvir_routing {
	uint32_t destination;		/* in/out: APIC id, 32 bits */
	uint8_t vector;			/* in/out: 32 to 255 */
	uint8_t delivery_mode;		/* in/out: PVIR_DELIVERY_* */
	uint8_t destination_mode;	/* in/out: PVIR_DESTINATION_* */
	uint8_t hint;			/* in/out: bit 0: redirection hint */
	uint64_t reserved;		/* in: zero */
};

/* The record of MAP (M1 to M12), RETARGET (R1 to R6), UNMAP (U1 to U3) and QUERY (Q1, Q2). */
struct pvir_entry_record {
	uint32_t device;		/* in: PVIR_DEVICE() */
	uint32_t status;		/* out */
	uint16_t store;			/* in: PVIR_STORE_* */
	uint16_t arch;			/* in/out: what routing means */
	uint32_t index;			/* in: index in the store */
	uint32_t count;			/* in: number of consecutive messages */
	uint32_t flags;			/* in: PVIR_ENTRY_* */
	uint64_t handle;		/* in/out: the IRTE */
	struct pvir_routing routing;	/* in/out: where it goes */
	uint64_t address;		/* out: the pair: message address */
	uint32_t data;			/* out: the pair: message data */
	uint32_t state;			/* out: PVIR_STATE_* */
};

/*
 * The event area (section 8): guest RAM that the host writes. Read epoch, then reason and device,
 * then sequence, each with one load of 8 bytes: a whole event if sequence is the epoch minus that
 * after ENABLE (V2).
 */
struct pvir_event_area {
	uint64_t epoch;			/* out: the VM's epoch, written last */
	uint64_t sequence;		/* out: number of events since ENABLE */
	uint32_t reason;		/* out: of the latest event */
	uint32_t device;		/* out: of the latest event, PVIR_EVERY_DEVICE for all */
	uint64_t reserved[5];		/* out: zero */
};

/* No layout has padding, in C and in C++. */
#ifdef __cplusplus
#define PVIR_STATIC_ASSERT(condition)	static_assert(condition, #condition)
#else
#define PVIR_STATIC_ASSERT(condition)	_Static_assert(condition, #condition)
#endif
PVIR_STATIC_ASSERT(sizeof(struct pvir_header) == PVIR_RECORD_LEN);
PVIR_STATIC_ASSERT(sizeof(struct pvir_features_record) == PVIR_RECORD_LEN);
PVIR_STATIC_ASSERT(sizeof(struct pvir_enable_record) == PVIR_RECORD_LEN);
PVIR_STATIC_ASSERT(sizeof(struct pvir_device_record) == PVIR_RECORD_LEN);
PVIR_STATIC_ASSERT(sizeof(struct pvir_attach_record) == PVIR_RECORD_LEN);
PVIR_STATIC_ASSERT(sizeof(struct pvir_entry_record) == PVIR_RECORD_LEN);
PVIR_STATIC_ASSERT(sizeof(struct pvir_routing) == 16);
PVIR_STATIC_ASSERT(sizeof(struct pvir_event_area) == 64);

#endif /* PVIR_ABI_H */
