// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * A device with its driver at work is given back, or taken (take.c): our level leaves those of its
 * interrupts, or comes between them, while they go on.
 *
 * Linux has no call for this, so it is done on what the headers show of irq_data and irq_domain,
 * under all the locks that guard it: the device's, that of its MSI descriptors (nothing is
 * allocated or freed), that of the domains' root, and for each interrupt that of its descriptor.
 * What a driver may do meanwhile without these is to mask and to unmask, and Linux to move. Both go
 * through the chip of the device's own domain, which is a copy of its own and holds them back: they
 * are noted, and done at the end. The host holds what the device raises (A5, A7), so nothing is
 * lost.
 *
 * Before 6.2 that chip is one for all devices, and a device is taken when its driver comes.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#define dev_fmt pr_fmt

#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/msi.h>
#include <linux/radix-tree.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <asm/hw_irq.h>
#include <asm/irqdomain.h>

#include "compat.h"
#include "live.h"
#include "pvir.h"

#if PVIR_DEVICE_DOMAINS

/* The chip's own callbacks while it is held. One device at a time, under pvir_lock. */
static struct irq_chip pvir_held;

static bool pvir_has_entry(const struct msi_desc *desc)
{
	return desc->pci.msi_attrib.is_msix && !desc->pci.msi_attrib.is_virtual;
}

static void pvir_write_mask(const struct msi_desc *desc, u32 control)
{
	void __iomem *entry = desc->pci.mask_base + desc->msi_index * PCI_MSIX_ENTRY_SIZE;

	writel(control, entry + PCI_MSIX_ENTRY_VECTOR_CTRL);
	readl(entry + PCI_MSIX_ENTRY_VECTOR_CTRL);
}

static void pvir_hold_mask(struct irq_data *top)
{
	struct msi_desc *desc = irq_data_get_msi_desc(top);

	if (pvir_has_entry(desc))
		desc->pci.msix_ctrl |= PCI_MSIX_ENTRY_CTRL_MASKBIT;
	else
		pvir_held.irq_mask(top);
}

static void pvir_hold_unmask(struct irq_data *top)
{
	struct msi_desc *desc = irq_data_get_msi_desc(top);

	if (pvir_has_entry(desc))
		desc->pci.msix_ctrl &= ~PCI_MSIX_ENTRY_CTRL_MASKBIT;
	else
		pvir_held.irq_unmask(top);
}

/* Since 6.18 these stand for the first unmask and the last mask. */
static unsigned int pvir_hold_startup(struct irq_data *top)
{
	pvir_hold_unmask(top);
	return 0;
}

static void pvir_hold_message(struct irq_data *top, struct msi_msg *msg)
{
}

/* Does something to each interrupt of a device, under the raw lock of its descriptor. */
void pvir_each(struct device *dev, void (*act)(struct msi_desc *desc, struct irq_data *top))
{
	struct msi_desc *desc;
	unsigned long flags;

	msi_for_each_desc(desc, dev, MSI_DESC_ASSOCIATED) {
		struct irq_data *top = irq_get_irq_data(desc->irq);

		raw_spin_lock_irqsave(&irq_data_to_desc(top)->lock, flags);
		act(desc, top);
		raw_spin_unlock_irqrestore(&irq_data_to_desc(top)->lock, flags);
	}
}

static void pvir_mask_entry(struct msi_desc *desc, struct irq_data *top)
{
	if (pvir_has_entry(desc))
		pvir_write_mask(desc, PCI_MSIX_ENTRY_CTRL_MASKBIT);
}

/* Has the level below compose the message, and writes it; the mask is as the driver wants it. */
void pvir_write_message(struct msi_desc *desc, struct irq_data *top)
{
	struct irq_data *below = top->parent_data;
	struct msi_msg msg = { };

	if (!irqd_is_activated(top))
		return;
	below->chip->irq_compose_msi_msg(below, &msg);
	pci_write_msi_msg(desc->irq, &msg);
}

/* From here on nobody writes to the device's entries, all of which are masked. */
void pvir_hold(struct device *dev, struct irq_chip *chip)
{
	pvir_held = *chip;
	WRITE_ONCE(chip->irq_mask, pvir_hold_mask);
	WRITE_ONCE(chip->irq_unmask, pvir_hold_unmask);
	if (pvir_held.irq_startup)
		WRITE_ONCE(chip->irq_startup, pvir_hold_startup);
	if (pvir_held.irq_shutdown)
		WRITE_ONCE(chip->irq_shutdown, pvir_hold_mask);
	WRITE_ONCE(chip->irq_write_msi_msg, pvir_hold_message);
	/* Takes each lock, so that whoever was in the old callbacks has left them. */
	pvir_each(dev, pvir_mask_entry);
}

/* The message as it is by now, and the mask as the driver wants it by now. */
static void pvir_restore_entry(struct msi_desc *desc, struct irq_data *top)
{
	pvir_write_message(desc, top);
	if (pvir_has_entry(desc))
		pvir_write_mask(desc, desc->pci.msix_ctrl);
}

void pvir_go_on(struct device *dev, struct irq_chip *chip)
{
	WRITE_ONCE(chip->irq_write_msi_msg, pvir_held.irq_write_msi_msg);
	WRITE_ONCE(chip->irq_unmask, pvir_held.irq_unmask);
	WRITE_ONCE(chip->irq_mask, pvir_held.irq_mask);
	WRITE_ONCE(chip->irq_startup, pvir_held.irq_startup);
	WRITE_ONCE(chip->irq_shutdown, pvir_held.irq_shutdown);
	/* The same, and does what was held back. */
	pvir_each(dev, pvir_restore_entry);
}

/* The host has disabled MSI where it was handed over (T4). */
static void pvir_enable_msi(struct pci_dev *pdev)
{
	u16 control;

	if (!pdev->msi_enabled)
		return;
	pci_read_config_word(pdev, pdev->msi_cap + PCI_MSI_FLAGS, &control);
	pci_write_config_word(pdev, pdev->msi_cap + PCI_MSI_FLAGS, control | PCI_MSI_FLAGS_ENABLE);
}

/* Takes our level out of an interrupt's. It is freed later: somebody may be looking. */
static void pvir_splice_out(struct msi_desc *desc, struct irq_data *top)
{
	const struct msi_domain_info *info = top->domain->host_data;
	struct irq_data *level = top->parent_data;
	struct pvir_entry *entry;

	if (!level || level->domain != pvir_parent_domain)
		return;
	entry = level->chip_data;
	entry->level = level;
	WRITE_ONCE(top->parent_data, level->parent_data);
	/* It was a string of ours. */
	irq_data_to_desc(top)->name = info->handler_name;
}

/* Forgets and frees the levels that were taken out. */
static void pvir_levels_out(struct pvir_device *device)
{
	struct pvir_entry *entry;
	unsigned long index;

	xa_for_each(&device->entries, index, entry) {
		if (!entry->level)
			continue;
		radix_tree_delete(&pvir_parent_domain->revmap_tree, entry->virq);
		pvir_parent_domain->mapcount--;
	}
	synchronize_rcu();
	xa_for_each(&device->entries, index, entry) {
		kfree(entry->level);
		entry->level = NULL;
	}
}

/*
 * The device's domain becomes what x86's vector domain makes of it: its own function sets the
 * callbacks, so that none is ours afterwards.
 */
static void pvir_hand_over(struct device *dev, struct irq_domain *domain)
{
	struct msi_domain_info *info = domain->host_data;
	struct msi_desc *desc;

	/* Ours are moved at once, and those that the device is told of with its next interrupt. */
	msi_for_each_desc(desc, dev, MSI_DESC_ASSOCIATED)
		pvir_move_deferred(desc->irq);
	x86_vector_domain->msi_parent_ops->init_dev_msi_info(dev, x86_vector_domain,
							     x86_vector_domain, info);
	domain->parent = x86_vector_domain;
	/* The name in /proc/interrupts. */
	if (str_has_prefix(info->chip->name, PVIR_PREFIX))
		info->chip->name += strlen(PVIR_PREFIX);
}

static void pvir_return_locked(struct pvir_device *device)
{
	struct device *dev = &device->pdev->dev;
	struct irq_domain *domain = device->msi_domain;
	struct irq_chip *chip;

	/* What it had of its own may have gone with a driver that did not bind. */
	if (!domain || !dev->msi.data) {
		pvir_release(device);
		return;
	}
	chip = ((struct msi_domain_info *)domain->host_data)->chip;
	pvir_hold(dev, chip);
	pvir_detach(device);
	pvir_hand_over(dev, domain);
	pvir_each(dev, pvir_splice_out);
	pvir_each(dev, pvir_write_message);
	pvir_enable_msi(device->pdev);
	pvir_go_on(dev, chip);
	pvir_levels_out(device);
	pci_info(device->pdev, "given back while its driver is at work\n");
	pvir_drop(device);
}

/* Calls with all locks that guard a device's interrupts, but for those of their descriptors. */
void pvir_locked(struct pci_dev *pdev, void (*act)(struct pci_dev *pdev))
{
	bool descs = pdev->dev.msi.data;

	device_lock_assert(&pdev->dev);
	if (descs)
		pvir_lock_descs(&pdev->dev);
	mutex_lock(&pvir_parent_domain->root->mutex);
	mutex_lock(&pvir_lock);
	act(pdev);
	mutex_unlock(&pvir_lock);
	mutex_unlock(&pvir_parent_domain->root->mutex);
	if (descs)
		pvir_unlock_descs(&pdev->dev);
}

static void pvir_return_found(struct pci_dev *pdev)
{
	struct pvir_device *device = pvir_device_find(&pdev->dev);

	if (device)
		pvir_return_locked(device);
}

/**
 * pvir_return - gives a device back, whether its driver is at work or not
 * @pdev:	the caller holds its lock
 */
void pvir_return(struct pci_dev *pdev)
{
	pvir_locked(pdev, pvir_return_found);
}

#else

/* Nobody uses the device: the module would be in use. */
void pvir_return(struct pci_dev *pdev)
{
	struct pvir_device *device;

	mutex_lock(&pvir_lock);
	device = pvir_device_find(&pdev->dev);
	if (device)
		pvir_release(device);
	mutex_unlock(&pvir_lock);
}

#endif
