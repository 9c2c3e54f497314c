// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Recovery: entries whose handle is dead are mapped again under their drivers, which notice
 * nothing (docs/abi.md, V8 and S5); moves that the host has failed are tried again.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#define dev_fmt pr_fmt

#include <linux/cpuhotplug.h>
#include <linux/irq.h>
#include <linux/jiffies.h>
#include <linux/msi.h>
#include <linux/workqueue.h>
#include <asm/hw_irq.h>
#include <asm/smp.h>

#include "pvir.h"

#define PVIR_RETRY_FIRST_MS	10
#define PVIR_RETRY_LAST_MS	1000
/* How often a device that is cut off is asked whether its driver has reset it (V11). */
#define PVIR_CUT_OFF_MS		1000

static void pvir_recovery_work(struct work_struct *work);
static DECLARE_DELAYED_WORK(pvir_recovery, pvir_recovery_work);
static int pvir_cpu_state;

/* From any context. */
void pvir_recover_soon(unsigned int ms)
{
	if (ms)
		queue_delayed_work(system_freezable_wq, &pvir_recovery, msecs_to_jiffies(ms));
	else
		mod_delayed_work(system_freezable_wq, &pvir_recovery, 0);
}

/*
 * Raises an interrupt once in software: what was sent to a dead pair or a stopped CPU is lost
 * (S5).
 */
static void pvir_raise(struct irq_data *top)
{
	if (irqd_is_started(top))
		top->chip->irq_retrigger(top);
}

/*
 * An entry has a new handle and a new pair: routed, written and unmasked, raised. Under the raw
 * lock of the interrupt's descriptor, so that its driver does none of this meanwhile.
 */
static int pvir_entry_again(struct pvir_entry *entry, struct irq_data *top,
			    const struct pvir_entry_record *answer)
{
	struct msi_msg msg = { };
	int ret = pvir_entry_accept(entry, answer);

	if (ret)
		return ret;
	/* What is not in use gets its pair and its routing when it is activated. */
	if (!irqd_is_activated(top) || irqd_cfg(top)->vector == MANAGED_IRQ_SHUTDOWN_VECTOR)
		return 0;
	ret = pvir_retarget(entry, top);
	entry->retry = ret;

	/* Masks the entry if the driver has it unmasked, writes, and unmasks it again (W2). */
	msg.address_hi = upper_32_bits(entry->address);
	msg.address_lo = lower_32_bits(entry->address);
	msg.data = entry->data;
	pci_write_msi_msg(entry->virq, &msg);
	pvir_raise(top);
	return ret;
}

static int pvir_answered(struct pvir_device *device, const struct pvir_entry_record *answer)
{
	struct pvir_entry *entry = xa_load(&device->entries, answer->index);
	struct irq_data *top = entry ? irq_get_irq_data(entry->virq) : NULL;
	struct irq_desc *desc;
	unsigned long flags;
	int ret;

	if (!top)
		return 0;
	desc = irq_data_to_desc(top);
	raw_spin_lock_irqsave(&desc->lock, flags);
	ret = pvir_entry_again(entry, top, answer);
	raw_spin_unlock_irqrestore(&desc->lock, flags);
	if (ret)
		dev_warn_ratelimited(&device->pdev->dev, "entry %u: not mapped again: %pe\n",
				     entry->index, ERR_PTR(ret));
	return ret;
}

/* Its handle is dead; or it was taken for dead, and is to be routed by what Linux says now. */
static void pvir_mark_stale(struct pvir_entry *entry, bool stale)
{
	struct irq_desc *desc = irq_data_to_desc(irq_get_irq_data(entry->virq));
	unsigned long flags;

	raw_spin_lock_irqsave(&desc->lock, flags);
	entry->retry |= entry->stale && !stale;
	entry->stale = stale;
	entry->routed &= !stale;
	raw_spin_unlock_irqrestore(&desc->lock, flags);
}

/* MAP of the first @count of the device's records, whose entries are dead. */
static void pvir_map_dead(struct pvir_device *device, u32 count)
{
	u32 failed = 0, i;

	for (i = 0; i < count; i++) {
		device->records[i].status = PVIR_STATUS_PENDING;
		device->records[i].handle = 0;
		device->records[i].flags = PVIR_ENTRY_PARKED;
		pvir_mark_stale(xa_load(&device->entries, device->records[i].index), true);
	}
	pvir_call(PVIR_OP_MAP, device->records, count);
	for (i = 0; i < count; i++)
		failed += !!pvir_answered(device, &device->records[i]);
	if (failed)
		pvir_recover_soon(PVIR_RETRY_LAST_MS);
	if (count > failed)
		pci_info(device->pdev, "%u of %u interrupts mapped again\n", count - failed, count);
}

/* A request for each entry that is in use. Returns how many there are. */
static u32 pvir_fill_used(struct pvir_device *device)
{
	struct pvir_entry *entry;
	unsigned long index;
	u32 count = 0;

	xa_for_each(&device->entries, index, entry)
		if (entry->virq && entry->handle && count < device->capacity)
			device->records[count++] = pvir_entry_request(entry);
	return count;
}

/**
 * pvir_map_again - one MAP for all entries of a device, whose handles are dead
 * @device:	one that is attached
 *
 * May sleep, but for the resume from suspend. The caller holds pvir_lock.
 */
void pvir_map_again(struct pvir_device *device)
{
	u32 count = pvir_fill_used(device);

	if (count)
		pvir_map_dead(device, count);
}

/* What the host says of the device as a whole, and not of one of its entries; OK if nothing. */
static u32 pvir_device_status(const struct pvir_device *device, u32 count)
{
	u32 i;

	for (i = 0; i < count; i++)
		switch (device->records[i].status) {
		case PVIR_STATUS_OK:
		case PVIR_STATUS_STALE_HANDLE:
			break;
		default:
			return device->records[i].status;
		}
	return PVIR_STATUS_OK;
}

/* Asks for all entries in use, and maps those again that are dead. */
static u32 pvir_recover_entries(struct pvir_device *device)
{
	u32 count = pvir_fill_used(device), dead = 0, status, i;

	if (!count)
		return PVIR_STATUS_OK;
	if (pvir_call(PVIR_OP_QUERY, device->records, count))
		return PVIR_STATUS_HOST_ERROR;
	status = pvir_device_status(device, count);
	if (status != PVIR_STATUS_OK)
		return status;
	for (i = 0; i < count; i++) {
		struct pvir_entry *entry = xa_load(&device->entries, device->records[i].index);

		if (device->records[i].status != PVIR_STATUS_OK) {
			device->records[dead++] = pvir_entry_request(entry);
		} else if (entry->stale) {
			pvir_mark_stale(entry, false);
			pvir_recover_soon(0);
		}
	}
	if (dead)
		pvir_map_dead(device, dead);
	return PVIR_STATUS_OK;
}

/**
 * pvir_recover_device - sees to a device that an event may be about
 * @device:	one that is attached
 *
 * May sleep. The caller holds pvir_lock.
 */
void pvir_recover_device(struct pvir_device *device)
{
	u32 status = device->gone ? PVIR_STATUS_OK : pvir_recover_entries(device);

	switch (status) {
	case PVIR_STATUS_OK:
		device->cut_off = false;
		break;
	case PVIR_STATUS_NOT_ATTACHED:
		if (!pvir_device_attach(device))
			pvir_map_again(device);
		break;
	case PVIR_STATUS_DEVICE_GONE:
	case PVIR_STATUS_NO_DEVICE:
		device->gone = true;
		pci_warn(device->pdev, "the host has unplugged it\n");
		break;
	case PVIR_STATUS_DEVICE_CUT_OFF:
		if (!device->cut_off)
			pci_err(device->pdev,
				"the host has cut it off for its interrupts, until it is reset\n");
		device->cut_off = true;
		pvir_recover_soon(PVIR_CUT_OFF_MS);
		break;
	default:
		dev_warn_ratelimited(&device->pdev->dev, "QUERY: %s\n", pvir_status_name(status));
		pvir_recover_soon(PVIR_RETRY_LAST_MS);
	}
}

/* Tries a move again that the host has failed. */
static int pvir_move_again(struct pvir_entry *entry)
{
	struct irq_data *top = irq_get_irq_data(entry->virq);
	struct irq_desc *desc = irq_data_to_desc(top);
	unsigned long flags;
	int ret = 0;

	raw_spin_lock_irqsave(&desc->lock, flags);
	if (entry->retry) {
		ret = irqd_is_activated(top) ? pvir_retarget(entry, top) : 0;
		entry->retry = ret;
		/* Where it went before may have been a CPU that is off. */
		if (!ret)
			pvir_raise(top);
	}
	raw_spin_unlock_irqrestore(&desc->lock, flags);
	return ret;
}

static void pvir_recovery_work(struct work_struct *work)
{
	static unsigned int wait = PVIR_RETRY_FIRST_MS;
	struct pvir_device *device;
	struct pvir_entry *entry;
	unsigned long index;
	bool stale, failed = false;

	mutex_lock(&pvir_lock);
	list_for_each_entry(device, &pvir_devices, node) {
		stale = false;
		xa_for_each(&device->entries, index, entry) {
			if (!entry->virq)
				continue;
			stale |= entry->stale;
			if (entry->retry && pvir_move_again(entry))
				failed = true;
		}
		if ((stale || device->cut_off) && pvir_enabled())
			pvir_recover_device(device);
	}
	mutex_unlock(&pvir_lock);

	if (failed)
		pvir_recover_soon(wait);
	wait = failed ? min(wait * 2, PVIR_RETRY_LAST_MS) : PVIR_RETRY_FIRST_MS;
}

/*
 * A CPU is to go, and may sleep yet: what the host did not move away from it moves now, or the
 * CPU stays. What still points here afterwards is moved with interrupts off, by
 * irq_set_affinity.
 */
static int pvir_cpu_down(unsigned int cpu)
{
	struct pvir_device *device;
	struct pvir_entry *entry;
	unsigned long index;
	int ret = 0;

	mutex_lock(&pvir_lock);
	list_for_each_entry(device, &pvir_devices, node)
		xa_for_each(&device->entries, index, entry)
			if (entry->virq && entry->retry && entry->routed &&
			    entry->apic_id == cpu_physical_id(cpu) && pvir_move_again(entry))
				ret = -EBUSY;
	mutex_unlock(&pvir_lock);
	return ret;
}

int pvir_recovery_init(void)
{
	int ret = cpuhp_setup_state_nocalls(CPUHP_AP_ONLINE_DYN, "pvir:online", NULL,
					    pvir_cpu_down);

	if (ret < 0)
		return ret;
	pvir_cpu_state = ret;
	return 0;
}

void pvir_recovery_exit(void)
{
	if (pvir_cpu_state > 0)
		cpuhp_remove_state_nocalls(pvir_cpu_state);
	pvir_cpu_state = 0;
	cancel_delayed_work_sync(&pvir_recovery);
}
