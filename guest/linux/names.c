// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Names and errno values of the contract's numbers (docs/abi.md, sections 5 and 9). */
#include <linux/errno.h>
#include <linux/kernel.h>

#include "pvir.h"

static const char *const pvir_operations[PVIR_OPERATIONS] = {
	[PVIR_OP_FEATURES] = "FEATURES",
	[PVIR_OP_ENABLE] = "ENABLE",
	[PVIR_OP_DISABLE] = "DISABLE",
	[PVIR_OP_DEVICE_INFO] = "DEVICE_INFO",
	[PVIR_OP_MAP] = "MAP",
	[PVIR_OP_RETARGET] = "RETARGET",
	[PVIR_OP_UNMAP] = "UNMAP",
	[PVIR_OP_QUERY] = "QUERY",
	[PVIR_OP_ATTACH] = "ATTACH",
	[PVIR_OP_DETACH] = "DETACH",
};

static const char *const pvir_refusals[] = {
	[PVIR_REFUSAL_NONE] = "no reason",
	[PVIR_REFUSAL_NO_REMAPPING] = "interrupt remapping is off on the host",
	[PVIR_REFUSAL_NO_SOURCE_ID] = "the host's remapping does not verify the source id",
	[PVIR_REFUSAL_ACS_OVERRIDDEN] = "the host overrides ACS",
	[PVIR_REFUSAL_UNSAFE_INTERRUPTS] = "the host allows unsafe interrupts",
	[PVIR_REFUSAL_NO_IOMMU] = "the device is used without an IOMMU",
	[PVIR_REFUSAL_SHARED_GROUP] = "the device shares its IOMMU group",
	[PVIR_REFUSAL_ALIASED_REQUESTER] = "the device's requester id is not its own",
	[PVIR_REFUSAL_SHARED_PAGE] = "the page of the MSI-X table holds something else too",
	[PVIR_REFUSAL_POLICY] = "the host's administrator forbade it",
	[PVIR_REFUSAL_KERNEL_DEFECT] = "the host's kernel has a known defect",
	[PVIR_REFUSAL_TABLE_NOT_MAPPABLE] = "the host cannot map the MSI-X table",
};

static const struct {
	u32 status;
	int error;
	const char *name;
} pvir_statuses[] = {
	/* The records of these calls were judged, and have statuses of their own. */
	{ PVIR_STATUS_OK, 0, "OK" },
	{ PVIR_STATUS_PARTIAL, 0, "PARTIAL" },
	{ PVIR_STATUS_ABORTED, 0, "ABORTED" },
	{ PVIR_STATUS_NOT_ENABLED, -ENOTCONN, "NOT_ENABLED" },
	{ PVIR_STATUS_ALREADY_ENABLED, -EALREADY, "ALREADY_ENABLED" },
	{ PVIR_STATUS_UNSUPPORTED_FEATURE, -EOPNOTSUPP, "UNSUPPORTED_FEATURE" },
	{ PVIR_STATUS_REFUSED, -EPERM, "REFUSED" },
	{ PVIR_STATUS_RATE_LIMITED, -EAGAIN, "RATE_LIMITED" },
	{ PVIR_STATUS_HOST_ERROR, -EIO, "HOST_ERROR" },
	{ PVIR_STATUS_NO_DEVICE, -ENODEV, "NO_DEVICE" },
	{ PVIR_STATUS_STORE_UNSUPPORTED, -EOPNOTSUPP, "STORE_UNSUPPORTED" },
	{ PVIR_STATUS_STALE_HANDLE, -ESTALE, "STALE_HANDLE" },
	{ PVIR_STATUS_DEVICE_GONE, -ENODEV, "DEVICE_GONE" },
	{ PVIR_STATUS_DEVICE_CUT_OFF, -ESHUTDOWN, "DEVICE_CUT_OFF" },
	{ PVIR_STATUS_NOT_ATTACHED, -ENOTCONN, "NOT_ATTACHED" },
	{ PVIR_STATUS_ALREADY_ATTACHED, -EALREADY, "ALREADY_ATTACHED" },
	{ PVIR_STATUS_NO_QUOTA, -ENOSPC, "NO_QUOTA" },
	{ PVIR_STATUS_NO_GSI, -ENOSPC, "NO_GSI" },
	{ PVIR_STATUS_NO_HOST_VECTOR, -ENOSPC, "NO_HOST_VECTOR" },
	{ PVIR_STATUS_DEVICE_ERROR, -EIO, "DEVICE_ERROR" },
	{ PVIR_STATUS_BAD_PAIR, -EIO, "BAD_PAIR" },
	/* What this module must never be answered. */
	{ PVIR_STATUS_BAD_ADDRESS, -EINVAL, "BAD_ADDRESS" },
	{ PVIR_STATUS_UNALIGNED, -EINVAL, "UNALIGNED" },
	{ PVIR_STATUS_PRIVILEGE, -EINVAL, "PRIVILEGE" },
	{ PVIR_STATUS_BAD_MAGIC, -EINVAL, "BAD_MAGIC" },
	{ PVIR_STATUS_BAD_VERSION, -EINVAL, "BAD_VERSION" },
	{ PVIR_STATUS_BAD_OPERATION, -EINVAL, "BAD_OPERATION" },
	{ PVIR_STATUS_BAD_FLAGS, -EINVAL, "BAD_FLAGS" },
	{ PVIR_STATUS_RESERVED_NOT_ZERO, -EINVAL, "RESERVED_NOT_ZERO" },
	{ PVIR_STATUS_BAD_COUNT, -EINVAL, "BAD_COUNT" },
	{ PVIR_STATUS_BAD_NOTIFY, -EINVAL, "BAD_NOTIFY" },
	{ PVIR_STATUS_BAD_STORE, -EINVAL, "BAD_STORE" },
	{ PVIR_STATUS_BAD_INDEX, -EINVAL, "BAD_INDEX" },
	{ PVIR_STATUS_BAD_MESSAGE_COUNT, -EINVAL, "BAD_MESSAGE_COUNT" },
	{ PVIR_STATUS_BAD_ARCH, -EINVAL, "BAD_ARCH" },
	{ PVIR_STATUS_BAD_VECTOR, -EINVAL, "BAD_VECTOR" },
	{ PVIR_STATUS_BAD_DESTINATION, -EINVAL, "BAD_DESTINATION" },
	{ PVIR_STATUS_BROADCAST, -EINVAL, "BROADCAST" },
	{ PVIR_STATUS_BAD_DESTINATION_MODE, -EINVAL, "BAD_DESTINATION_MODE" },
	{ PVIR_STATUS_BAD_DELIVERY_MODE, -EINVAL, "BAD_DELIVERY_MODE" },
	{ PVIR_STATUS_AMBIGUOUS_DESTINATION, -EINVAL, "AMBIGUOUS_DESTINATION" },
	{ PVIR_STATUS_ALREADY_MAPPED, -EINVAL, "ALREADY_MAPPED" },
	{ PVIR_STATUS_HANDLE_MISMATCH, -EINVAL, "HANDLE_MISMATCH" },
	{ PVIR_STATUS_BACKING_IN_USE, -EINVAL, "BACKING_IN_USE" },
};

const char *pvir_operation_name(u16 operation)
{
	return operation < PVIR_OPERATIONS && pvir_operations[operation] ?
	       pvir_operations[operation] : "unknown";
}

const char *pvir_refusal_name(u32 refusal)
{
	return refusal < ARRAY_SIZE(pvir_refusals) ? pvir_refusals[refusal] : "an unknown reason";
}

const char *pvir_status_name(u32 status)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(pvir_statuses); i++)
		if (pvir_statuses[i].status == status)
			return pvir_statuses[i].name;
	return "unknown";
}

/**
 * pvir_errno - a status as an errno
 * @status:	of a call or of a record
 *
 * Return: 0 for OK, and for a call whose records have their own. A status that is not known is a
 * failure (section 4), -EIO.
 */
int pvir_errno(u32 status)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(pvir_statuses); i++)
		if (pvir_statuses[i].status == status)
			return pvir_statuses[i].error;
	return -EIO;
}
