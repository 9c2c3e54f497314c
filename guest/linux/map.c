// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Entries: MAP of a whole allocation at once, RETARGET of one, UNMAP of all that were freed
 * (docs/abi.md, "The entry record").
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#define dev_fmt pr_fmt

#include <linux/jiffies.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include <asm/hw_irq.h>
#include <asm/smp.h>

#include "compat.h"
#include "pvir.h"
#include "trace.h"

/* The pair of an x86 message (M9). */
#define PVIR_ADDRESS_MIN	0xfee00000ull
#define PVIR_ADDRESS_MAX	0xfeefffffull
#define PVIR_DATA_MAX		0xffff
/* How often RETARGET is tried where nothing may sleep. */
#define PVIR_RETARGET_TRIES	3
/*
 * A driver frees its interrupts one by one; if it frees not all of them, this is how long we
 * wait.
 */
#define PVIR_UNMAP_DELAY	msecs_to_jiffies(10)

static void pvir_unmap_work(struct work_struct *work);
static DECLARE_DELAYED_WORK(pvir_unmap, pvir_unmap_work);

/* A record that names the entry, with its handle, and nothing else. */
struct pvir_entry_record pvir_entry_request(const struct pvir_entry *entry)
{
	return (struct pvir_entry_record) {
		.device = entry->device->id,
		.status = PVIR_STATUS_PENDING,
		.store = entry->store,
		.index = entry->index,
		.count = 1,
		.handle = entry->handle,
	};
}

/**
 * pvir_entry_accept - takes handle and pair from the answer of a MAP
 * @entry:	the entry that was asked for, parked
 * @answer:	its record
 *
 * Return: 0; the errno of the record's status; or -EPROTO if the host has answered what the
 * contract does not allow, and the entry is not used.
 */
int pvir_entry_accept(struct pvir_entry *entry, const struct pvir_entry_record *answer)
{
	if (answer->status == PVIR_STATUS_PENDING)
		return -EAGAIN;
	if (answer->status != PVIR_STATUS_OK)
		return pvir_errno(answer->status) ?: -EPROTO;
	if (!answer->handle || answer->address < PVIR_ADDRESS_MIN ||
	    answer->address > PVIR_ADDRESS_MAX || answer->address & 3 ||
	    answer->data > PVIR_DATA_MAX || !(answer->state & PVIR_STATE_PARKED)) {
		pci_err(entry->device->pdev, "entry %u: no handle or no pair in an answer of the host\n",
			entry->index);
		return -EPROTO;
	}
	entry->handle = answer->handle;
	entry->address = answer->address;
	entry->data = answer->data;
	entry->routed = false;
	entry->stale = false;
	return 0;
}

/* Makes an entry, not yet mapped, and its place in the array. */
struct pvir_entry *pvir_entry_make(struct pvir_device *device, const struct msi_desc *desc)
{
	struct pvir_entry *entry = kzalloc(sizeof(*entry), GFP_KERNEL);
	bool msix = device->pdev->msix_enabled;

	if (!entry)
		return NULL;
	entry->device = device;
	entry->store = msix ? PVIR_STORE_MSIX : PVIR_STORE_MSI;
	entry->index = msix ? desc->msi_index : 0;
	if (xa_insert(&device->entries, entry->index, entry, GFP_KERNEL)) {
		kfree(entry);
		return NULL;
	}
	return entry;
}

static void pvir_entry_drop(struct pvir_entry *entry)
{
	xa_erase(&entry->device->entries, entry->index);
	kfree(entry);
}

/*
 * Makes an entry for each interrupt that has none yet, and a request for it. An entry that the
 * table does not have, for drivers that ask for more (PCI_IRQ_VIRTUAL), is not the host's
 * business and keeps the handle 0. Returns the number of requests.
 */
static u32 pvir_fill_new(struct pvir_device *device)
{
	struct device *dev = &device->pdev->dev;
	struct pvir_entry *entry;
	struct msi_desc *desc;
	u32 count = 0;

	msi_for_each_desc(desc, dev, MSI_DESC_NOTASSOCIATED) {
		if (xa_load(&device->entries, desc->msi_index))
			continue;
		if (!desc->pci.msi_attrib.is_virtual && count == device->capacity)
			break;
		entry = pvir_entry_make(device, desc);
		if (!entry)
			break;
		if (desc->pci.msi_attrib.is_virtual)
			continue;
		device->records[count] = pvir_entry_request(entry);
		device->records[count++].flags = PVIR_ENTRY_PARKED;
	}
	return count;
}

/**
 * pvir_map_new - one MAP for all interrupts of a device that have no entry yet, parked
 * @device:	whose MSI descriptors are locked
 *
 * May sleep. The caller holds pvir_lock. The host may grant fewer than are asked for (O4): the
 * first ones then, and Linux gets as many vectors.
 *
 * Return: 0 if some were granted or none asked for, else why not.
 */
int pvir_map_new(struct pvir_device *device)
{
	u32 count = pvir_fill_new(device), granted = 0, i;
	int ret = count ? pvir_call(PVIR_OP_MAP, device->records, count) : 0;

	for (i = 0; i < count; i++) {
		const struct pvir_entry_record *answer = &device->records[i];
		struct pvir_entry *entry = xa_load(&device->entries, answer->index);
		int error = entry ? pvir_entry_accept(entry, answer) : -EPROTO;

		if (!error) {
			granted++;
			continue;
		}
		ret = ret ?: error;
		if (entry && !entry->handle)
			pvir_entry_drop(entry);
	}
	if (!ret)
		return 0;
	pci_info(device->pdev, "%u of %u interrupts granted: %pe\n", granted, count, ERR_PTR(ret));
	return granted ? 0 : ret;
}

/**
 * pvir_unmap_unused - one UNMAP for all entries of a device whose interrupt was freed
 * @device:	any
 *
 * May sleep. The caller holds pvir_lock. Whatever the host answers, the handle is dead (U3).
 */
void pvir_unmap_unused(struct pvir_device *device)
{
	struct pvir_entry *entry;
	unsigned long index;
	u32 count = 0, i;

	xa_for_each(&device->entries, index, entry) {
		if (entry->virq)
			continue;
		if (entry->handle && !device->gone && count < device->capacity)
			device->records[count++] = pvir_entry_request(entry);
		pvir_entry_drop(entry);
	}
	if (count)
		pvir_call(PVIR_OP_UNMAP, device->records, count);
	for (i = 0; i < count; i++) {
		u32 status = device->records[i].status;

		if (status != PVIR_STATUS_OK && status != PVIR_STATUS_STALE_HANDLE &&
		    status != PVIR_STATUS_DEVICE_GONE && status != PVIR_STATUS_DEVICE_CUT_OFF)
			pci_warn(device->pdev, "entry %u: UNMAP: %s\n", device->records[i].index,
				 pvir_status_name(status));
	}
}

/* Forgets all entries of a device that holds none of the host's any more. */
void pvir_forget_entries(struct pvir_device *device)
{
	struct pvir_entry *entry;
	unsigned long index;

	xa_for_each(&device->entries, index, entry)
		pvir_entry_drop(entry);
	xa_destroy(&device->entries);
}

static void pvir_unmap_work(struct work_struct *work)
{
	struct pvir_device *device;
	bool again = false;

	mutex_lock(&pvir_lock);
	list_for_each_entry(device, &pvir_devices, node) {
		pvir_unmap_unused(device);
		again |= !pvir_device_try_unpin(device);
	}
	mutex_unlock(&pvir_lock);
	if (again)
		pvir_unmap_soon();
}

/*
 * Some interrupts of a device were freed and others not: pci_msix_free_irq, or the first of
 * many.
 */
void pvir_unmap_soon(void)
{
	queue_delayed_work(system_freezable_wq, &pvir_unmap, PVIR_UNMAP_DELAY);
}

void pvir_unmap_exit(void)
{
	cancel_delayed_work_sync(&pvir_unmap);
}

/* Where Linux's vector domain has the interrupt now. */
static struct pvir_routing pvir_wanted(struct irq_data *irqd)
{
	unsigned int cpu = cpumask_first(irq_data_get_effective_affinity_mask(irqd));

	return (struct pvir_routing) {
		/* irq_cfg has a logical id in xAPIC mode. */
		.destination = cpu < nr_cpu_ids ? cpu_physical_id(cpu) : 0,
		.vector = irqd_cfg(irqd)->vector,
		.delivery_mode = PVIR_DELIVERY_FIXED,
		.destination_mode = PVIR_DESTINATION_PHYSICAL,
	};
}

static bool pvir_is_lost(const struct pvir_device *device)
{
	return device->gone || device->detached;
}

/* Makes the call, again if the host's own failure stood in the way (R6). Returns the status. */
static u32 pvir_retarget_call(struct pvir_entry *entry, const struct pvir_entry_record *request)
{
	struct pvir_entry_record record;
	int tries = PVIR_RETARGET_TRIES, ret;

	do {
		record = *request;
		ret = pvir_call_atomic(PVIR_OP_RETARGET, &record, 1);
		if (ret)
			record.status = PVIR_STATUS_HOST_ERROR;
	} while (record.status == PVIR_STATUS_HOST_ERROR && --tries);
	return record.status;
}

/**
 * pvir_retarget - routes an entry to where Linux has its interrupt
 * @entry:	the entry
 * @irqd:	the interrupt's data, at any level
 *
 * Never sleeps; under the raw lock of the interrupt's descriptor. The device is not touched
 * (R1). An entry whose handle is dead is left to the recovery, which routes it by what Linux
 * says then.
 *
 * Return: 0, or why the host did not.
 */
int pvir_retarget(struct pvir_entry *entry, struct irq_data *irqd)
{
	struct pvir_entry_record request = pvir_entry_request(entry);
	u32 status;

	if (entry->stale || pvir_is_lost(entry->device) || !pvir_enabled())
		return 0;
	request.arch = PVIR_ARCH_X86_APIC;
	request.routing = pvir_wanted(irqd);
	if (entry->routed && entry->apic_id == request.routing.destination &&
	    entry->vector == request.routing.vector)
		return 0;

	status = pvir_retarget_call(entry, &request);
	trace_pvir_retarget(irqd->irq, request.device, request.index, request.routing.destination,
			    request.routing.vector, status);
	switch (status) {
	case PVIR_STATUS_OK:
		entry->routed = true;
		entry->apic_id = request.routing.destination;
		entry->vector = request.routing.vector;
		entry->retry = false;
		return 0;
	case PVIR_STATUS_STALE_HANDLE:
	case PVIR_STATUS_DEVICE_GONE:
	case PVIR_STATUS_DEVICE_CUT_OFF:
		entry->stale = true;
		pvir_events_look();
		return 0;
	default:
		pr_err_ratelimited("irq %u not routed to APIC %u, vector %#x: %s\n", irqd->irq,
				   request.routing.destination, request.routing.vector,
				   pvir_status_name(status));
		return pvir_errno(status) ?: -EIO;
	}
}

/**
 * pvir_park - takes an entry's destination away, where its mask cannot hold interrupts back
 * @entry:	the entry
 *
 * Never sleeps; under the raw lock of the interrupt's descriptor.
 *
 * Return: 0, or why the host did not.
 */
int pvir_park(struct pvir_entry *entry)
{
	struct pvir_entry_record request = pvir_entry_request(entry);
	u32 status;

	if (entry->stale || pvir_is_lost(entry->device) || !entry->routed || !pvir_enabled())
		return 0;
	request.flags = PVIR_ENTRY_PARKED;
	status = pvir_retarget_call(entry, &request);
	trace_pvir_retarget(entry->virq, request.device, request.index, 0, 0, status);
	if (status == PVIR_STATUS_OK)
		entry->routed = false;
	return pvir_errno(status);
}
