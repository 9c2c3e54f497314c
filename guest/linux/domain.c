// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The irq domain: between a device's MSI domain and x86's vector domain, as that of a remapping
 * unit would be. It composes the pair, which never changes, and moves an interrupt by RETARGET.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/interrupt.h>
#include <linux/module.h>
#include <linux/msi.h>
#include <asm/hw_irq.h>
#include <asm/irqdomain.h>

#include "compat.h"
#include "pvir.h"

/*
 * What devices get as their MSI domain, and what is below it. The same where devices have their
 * own.
 */
struct irq_domain *pvir_domain;
struct irq_domain *pvir_parent_domain;

static struct fwnode_handle *pvir_fwnode;

/*
 * Whether an entry's mask, which the interrupt's shutdown has set, holds back what the device
 * raises.
 */
static bool pvir_is_masked(struct irq_data *irqd)
{
	struct msi_desc *desc = irq_data_get_msi_desc(irqd);

	return desc && desc->pci.msi_attrib.can_mask && irqd_irq_masked(irqd);
}

/* The pair: what the device is to write, whatever CPU is meant (M1, M2). */
static void pvir_compose_msi_msg(struct irq_data *irqd, struct msi_msg *msg)
{
	struct pvir_entry *entry = irq_data_get_irq_chip_data(irqd);

	msg->address_hi = upper_32_bits(entry->address);
	msg->address_lo = lower_32_bits(entry->address);
	msg->data = entry->data;
}

/*
 * Effective at once, and the device is not touched. What was raised before arrives at the old
 * vector, whose handler stays until the first interrupt at the new one (R2). A failure is the
 * caller's, and the recovery tries again: the vector domain has moved, and can move back only
 * after an interrupt.
 */
static int pvir_set_affinity(struct irq_data *irqd, const struct cpumask *mask, bool force)
{
	struct pvir_entry *entry = irq_data_get_irq_chip_data(irqd);
	struct irq_data *parent = irqd->parent_data;
	int ret;

	ret = parent->chip->irq_set_affinity(parent, mask, force);
	if (ret < 0 || ret == IRQ_SET_MASK_OK_DONE || !entry->handle)
		return ret;

	ret = pvir_retarget(entry, irqd);
	if (ret) {
		entry->retry = true;
		pvir_recover_soon(0);
		return ret;
	}
	return IRQ_SET_MASK_OK_DONE;
}

struct irq_chip pvir_chip = {
	.name			= "PVIR",
	.irq_ack		= irq_chip_ack_parent,
	.irq_retrigger		= irq_chip_retrigger_hierarchy,
	.irq_set_affinity	= pvir_set_affinity,
	.irq_compose_msi_msg	= pvir_compose_msi_msg,
};

/* The entry of a descriptor, mapped if it is not yet. */
static struct pvir_entry *pvir_take_entry(struct msi_desc *desc, unsigned int virq)
{
	struct pvir_device *device;
	struct pvir_entry *entry;
	int ret = 0;

	mutex_lock(&pvir_lock);
	device = pvir_device_find(desc->dev);
	if (!device) {
		entry = ERR_PTR(-ENODEV);
		goto out;
	}
	entry = xa_load(&device->entries, desc->msi_index);
	if (!entry) {
		ret = pvir_map_new(device);
		entry = xa_load(&device->entries, desc->msi_index);
	}
	if (!entry) {
		entry = ERR_PTR(ret ?: -ENOSPC);
		goto out;
	}
	entry->virq = virq;
	device->live++;
#if PVIR_DEVICE_DOMAINS
	/* With its own domain known, the device can be given back at any time. */
	device->msi_domain = irq_get_irq_data(virq)->domain;
	pvir_device_unpin(device);
#else
	pvir_device_pin(device);
#endif
out:
	mutex_unlock(&pvir_lock);
	return entry;
}

static void pvir_give_entry(struct pvir_entry *entry)
{
	struct pvir_device *device = entry->device;

	mutex_lock(&pvir_lock);
	entry->virq = 0;
	entry->retry = false;
	if (--device->live)
		pvir_unmap_soon();
	else
		pvir_unmap_unused(device);
	mutex_unlock(&pvir_lock);
}

static int pvir_domain_alloc(struct irq_domain *domain, unsigned int virq, unsigned int count,
			     void *arg)
{
	msi_alloc_info_t *info = arg;
	struct pvir_entry *entry;
	int ret;

	/* One message: Linux has no aligned vectors for several (M10). */
	if (count != 1 || !info->desc)
		return -EINVAL;
	entry = pvir_take_entry(info->desc, virq);
	if (IS_ERR(entry))
		return PTR_ERR(entry);
	ret = irq_domain_alloc_irqs_parent(domain, virq, count, arg);
	if (ret) {
		pvir_give_entry(entry);
		return ret;
	}
	irq_domain_set_hwirq_and_chip(domain, virq, virq, &pvir_chip, entry);
	pvir_move_at_once(virq);
	return 0;
}

static void pvir_domain_free(struct irq_domain *domain, unsigned int virq, unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		struct irq_data *irqd = irq_domain_get_irq_data(domain, virq + i);

		if (irqd && irqd->chip_data)
			pvir_give_entry(irqd->chip_data);
	}
	irq_domain_free_irqs_common(domain, virq, count);
}

/*
 * With the vector that stands for none, in early activation and for a managed interrupt without
 * CPU, there is nothing to route.
 */
static int pvir_domain_activate(struct irq_domain *domain, struct irq_data *irqd, bool reserve)
{
	struct pvir_entry *entry = irq_data_get_irq_chip_data(irqd);

	if (!entry->handle || irqd_cfg(irqd)->vector == MANAGED_IRQ_SHUTDOWN_VECTOR)
		return 0;
	return pvir_retarget(entry, irqd);
}

/*
 * The entry was masked, and the mask read back, before: nothing is sent any more, and what was
 * sent arrives where the vector is shut down and is dropped. So there is no call, and the next
 * activation has one only if the vector is another. What cannot be masked is parked (R3).
 */
static void pvir_domain_deactivate(struct irq_domain *domain, struct irq_data *irqd)
{
	struct pvir_entry *entry = irq_data_get_irq_chip_data(irqd);

	if (entry->handle && !pvir_is_masked(irqd))
		pvir_park(entry);
}

static const struct irq_domain_ops pvir_domain_ops = {
	.alloc		= pvir_domain_alloc,
	.free		= pvir_domain_free,
	.activate	= pvir_domain_activate,
	.deactivate	= pvir_domain_deactivate,
};

/* One MAP for the whole allocation, where its descriptors are there already. */
static int pvir_msi_prepare(struct irq_domain *domain, struct device *dev, int nvec,
			    msi_alloc_info_t *alloc)
{
	memset(alloc, 0, sizeof(*alloc));
	alloc->type = to_pci_dev(dev)->msix_enabled ? X86_IRQ_ALLOC_TYPE_PCI_MSIX :
						      X86_IRQ_ALLOC_TYPE_PCI_MSI;
#if PVIR_PREPARE_HAS_DESCS
	struct pvir_device *device;

	mutex_lock(&pvir_lock);
	device = pvir_device_find(dev);
	if (device)
		pvir_map_new(device);
	mutex_unlock(&pvir_lock);
#endif
	return 0;
}

#if PVIR_DEVICE_DOMAINS
/* What the device's own domain has under it answers that all is done, or fails. */
static int pvir_top_set_affinity(struct irq_data *irqd, const struct cpumask *mask, bool force)
{
	struct irq_data *parent = irqd->parent_data;

	return parent->chip->irq_set_affinity(parent, mask, force);
}

static const struct msi_parent_ops pvir_parent_ops;

/* A device's own domain becomes one above ours. */
void pvir_adapt_info(struct msi_domain_info *info)
{
	info->flags &= pvir_parent_ops.supported_flags;
	info->flags |= MSI_FLAG_USE_DEF_DOM_OPS | MSI_FLAG_USE_DEF_CHIP_OPS;
	info->ops->msi_prepare = pvir_msi_prepare;
	info->chip->irq_ack = irq_chip_ack_parent;
	info->chip->irq_retrigger = irq_chip_retrigger_hierarchy;
	info->chip->irq_set_affinity = pvir_top_set_affinity;
	info->chip->flags |= IRQCHIP_SKIP_SET_WAKE | IRQCHIP_AFFINITY_PRE_STARTUP;
	pvir_chip_moves_at_once(info->chip);
	info->handler = handle_edge_irq;
	info->handler_name = "edge";
}

static bool pvir_init_dev_msi_info(struct device *dev, struct irq_domain *domain,
				   struct irq_domain *real_parent, struct msi_domain_info *info)
{
	struct pvir_device *device;

	if (info->bus_token != DOMAIN_BUS_PCI_DEVICE_MSI &&
	    info->bus_token != DOMAIN_BUS_PCI_DEVICE_MSIX)
		return false;

	mutex_lock(&pvir_lock);
	device = pvir_device_find(dev);
	if (device) {
		/* Until the domain that is being made is known. */
		device->msi_domain = NULL;
		pvir_device_pin(device);
	}
	mutex_unlock(&pvir_lock);
	if (!device)
		return false;

	pvir_adapt_info(info);
	return true;
}

static const struct msi_parent_ops pvir_parent_ops = {
	.supported_flags	= MSI_GENERIC_FLAGS_MASK | MSI_FLAG_PCI_MSIX |
				  MSI_FLAG_PCI_MSIX_ALLOC_DYN,
	.prefix			= PVIR_PREFIX,
	.init_dev_msi_info	= pvir_init_dev_msi_info,
};

static int pvir_device_domain_init(void)
{
	pvir_parent_domain->flags |= IRQ_DOMAIN_FLAG_MSI_PARENT;
	pvir_parent_domain->msi_parent_ops = &pvir_parent_ops;
	pvir_domain = pvir_parent_domain;
	return 0;
}

static void pvir_device_domain_exit(void)
{
	pvir_domain = NULL;
}

/*
 * Whether devices with this domain have their messages from x86's vectors, with nothing
 * between.
 */
bool pvir_domain_replaces(const struct irq_domain *domain)
{
	return domain && domain == x86_vector_domain;
}
#else
static struct irq_chip pvir_msi_chip = {
	.name			= "PVIR-PCI-MSI",
	.irq_mask		= pci_msi_mask_irq,
	.irq_unmask		= pci_msi_unmask_irq,
	.irq_ack		= irq_chip_ack_parent,
	.irq_retrigger		= irq_chip_retrigger_hierarchy,
	.flags			= IRQCHIP_SKIP_SET_WAKE | IRQCHIP_AFFINITY_PRE_STARTUP,
};

static struct msi_domain_ops pvir_msi_ops = {
	.msi_prepare	= pvir_msi_prepare,
};

static struct msi_domain_info pvir_msi_info = {
	.flags		= MSI_FLAG_USE_DEF_DOM_OPS | MSI_FLAG_USE_DEF_CHIP_OPS | MSI_FLAG_PCI_MSIX,
	.ops		= &pvir_msi_ops,
	.chip		= &pvir_msi_chip,
	.handler	= handle_edge_irq,
	.handler_name	= "edge",
};

static struct fwnode_handle *pvir_msi_fwnode;

static int pvir_device_domain_init(void)
{
	pvir_msi_fwnode = irq_domain_alloc_named_fwnode("PVIR-PCI-MSI");
	if (pvir_msi_fwnode)
		pvir_domain = pci_msi_create_irq_domain(pvir_msi_fwnode, &pvir_msi_info,
							pvir_parent_domain);
	return pvir_domain ? 0 : -ENOMEM;
}

static void pvir_device_domain_exit(void)
{
	if (pvir_domain)
		irq_domain_remove(pvir_domain);
	if (pvir_msi_fwnode)
		irq_domain_free_fwnode(pvir_msi_fwnode);
	pvir_domain = NULL;
	pvir_msi_fwnode = NULL;
}

bool pvir_domain_replaces(const struct irq_domain *domain)
{
	return domain && domain->parent == x86_vector_domain;
}
#endif

int pvir_domain_init(void)
{
	pvir_fwnode = irq_domain_alloc_named_fwnode("PVIR");
	if (!pvir_fwnode)
		return -ENOMEM;
	pvir_parent_domain = irq_domain_create_hierarchy(x86_vector_domain, 0, 0, pvir_fwnode,
							 &pvir_domain_ops, NULL);
	if (!pvir_parent_domain || pvir_device_domain_init()) {
		pvir_domain_exit();
		return -ENOMEM;
	}
	return 0;
}

void pvir_domain_exit(void)
{
	pvir_device_domain_exit();
	if (pvir_parent_domain)
		irq_domain_remove(pvir_parent_domain);
	if (pvir_fwnode)
		irq_domain_free_fwnode(pvir_fwnode);
	pvir_parent_domain = NULL;
	pvir_fwnode = NULL;
}
