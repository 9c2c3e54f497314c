// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * A device with its driver at work is taken: its entries are mapped, and our level comes between
 * those of its interrupts. live.c says how that is safe.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#define dev_fmt pr_fmt

#include <linux/msi.h>
#include <linux/radix-tree.h>
#include <linux/slab.h>
#include <asm/hw_irq.h>
#include <asm/irqdomain.h>

#include "compat.h"
#include "live.h"
#include "pvir.h"

#if PVIR_DEVICE_DOMAINS

/* The device that is being taken; not in the list yet. Under pvir_lock. */
static struct pvir_device *pvir_taking;

/* Puts our level into an interrupt's, and routes its entry. */
static void pvir_splice_in(struct msi_desc *desc, struct irq_data *top)
{
	struct pvir_device *device = pvir_taking;
	struct pvir_entry *entry = xa_load(&device->entries, desc->msi_index);
	struct irq_data *level = entry ? entry->level : NULL;

	if (!level)
		return;
	level->irq = desc->irq;
	level->hwirq = desc->irq;
	level->common = top->common;
	level->domain = pvir_parent_domain;
	level->parent_data = top->parent_data;
	level->chip = &pvir_chip;
	level->chip_data = entry;
	/* Whoever follows it without a lock sees a whole level. */
	smp_store_release(&top->parent_data, level);
	if (entry->handle && irqd_is_activated(top) &&
	    irqd_cfg(top)->vector != MANAGED_IRQ_SHUTDOWN_VECTOR && pvir_retarget(entry, top)) {
		entry->retry = true;
		pvir_recover_soon(0);
	}
}

/* The levels that were put in become known to the domain. */
static void pvir_levels_in(struct pvir_device *device)
{
	struct pvir_entry *entry;
	unsigned long index;

	xa_for_each(&device->entries, index, entry) {
		if (!entry->level)
			continue;
		radix_tree_insert(&pvir_parent_domain->revmap_tree, entry->virq, entry->level);
		pvir_parent_domain->mapcount++;
		entry->level = NULL;
	}
}

/* The domain of a device whose driver has interrupts of x86's vector domain, MSI-X, in use. */
static struct irq_domain *pvir_domain_in_use(struct pci_dev *pdev)
{
	struct irq_domain *domain = NULL;
	struct msi_desc *desc;

	msi_for_each_desc(desc, &pdev->dev, MSI_DESC_ASSOCIATED) {
		domain = irq_get_irq_data(desc->irq)->domain;
		break;
	}
	if (!domain || domain->bus_token != DOMAIN_BUS_PCI_DEVICE_MSIX ||
	    domain->parent != x86_vector_domain)
		return NULL;
	return domain;
}

/* Everything that is needed later, when nothing may fail. */
static bool pvir_make_levels(struct pvir_device *device)
{
	struct pvir_entry *entry;
	struct msi_desc *desc;

	msi_for_each_desc(desc, &device->pdev->dev, MSI_DESC_ASSOCIATED) {
		entry = pvir_entry_make(device, desc);
		if (!entry)
			return false;
		entry->virq = desc->irq;
		device->live++;
		entry->level = kzalloc_node(sizeof(*entry->level), GFP_KERNEL,
					    dev_to_node(&device->pdev->dev));
		if (!entry->level)
			return false;
	}
	return true;
}

static void pvir_free_levels(struct pvir_device *device)
{
	struct pvir_entry *entry;
	unsigned long index;

	xa_for_each(&device->entries, index, entry)
		kfree(entry->level);
}

/* All or nothing: a driver at work cannot do with fewer. */
static bool pvir_map_taken(struct pvir_device *device)
{
	struct pvir_entry *entry;
	unsigned long index;
	u32 count = 0, i;

	xa_for_each(&device->entries, index, entry) {
		/* Drivers may ask for more than the table has (PCI_IRQ_VIRTUAL). */
		if (index >= device->capacity)
			continue;
		device->records[count] = pvir_entry_request(entry);
		device->records[count++].flags = PVIR_ENTRY_PARKED;
	}
	if (pvir_call(PVIR_OP_MAP, device->records, count))
		return false;
	for (i = 0; i < count; i++) {
		entry = xa_load(&device->entries, device->records[i].index);
		if (!entry || pvir_entry_accept(entry, &device->records[i]))
			return false;
	}
	return true;
}

static int pvir_take_held(struct pvir_device *device, struct irq_domain *domain)
{
	struct msi_domain_info *info = domain->host_data;
	struct device *dev = &device->pdev->dev;
	struct msi_desc *desc;
	int ret = pvir_device_attach(device);

	if (ret)
		return ret;
	if (!pvir_map_taken(device)) {
		pci_warn(device->pdev, "not taken from its driver, the host cannot map all\n");
		pvir_detach(device);
		pvir_each(dev, pvir_write_message);
		return -ENOSPC;
	}
	pvir_adapt_info(info);
	domain->parent = pvir_parent_domain;
	pvir_taking = device;
	pvir_each(dev, pvir_splice_in);
	pvir_levels_in(device);
	msi_for_each_desc(desc, dev, MSI_DESC_ASSOCIATED)
		pvir_move_at_once(desc->irq);
	pvir_each(dev, pvir_write_message);
	return 0;
}

static void pvir_take_locked(struct pci_dev *pdev)
{
	struct irq_domain *domain = pvir_domain_in_use(pdev);
	struct pvir_device *device;
	struct irq_chip *chip;

	if (!domain)
		return;
	device = pvir_device_candidate(pdev);
	if (!device)
		return;
	chip = ((struct msi_domain_info *)domain->host_data)->chip;
	if (!pvir_make_levels(device))
		goto out;
	pvir_hold(&pdev->dev, chip);
	if (!pvir_take_held(device, domain)) {
		device->msi_domain = domain;
		pvir_device_add(device);
		pvir_go_on(&pdev->dev, chip);
		pci_info(pdev, "taken while its driver is at work\n");
		return;
	}
	pvir_go_on(&pdev->dev, chip);
out:
	pvir_free_levels(device);
	pvir_device_free(device);
}

/**
 * pvir_take - takes a device whose driver is at work
 * @pdev:	the caller holds its lock
 */
void pvir_take(struct pci_dev *pdev)
{
	if (pdev->dev.msi.data)
		pvir_locked(pdev, pvir_take_locked);
}

#else

void pvir_take(struct pci_dev *pdev)
{
}

#endif
