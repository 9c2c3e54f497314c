// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * /sys/kernel/debug/pvir: the host, each interrupt, and the counts of the calls. One word, one
 * field.
 */
#include <linux/debugfs.h>
#include <linux/irq.h>
#include <linux/seq_file.h>

#include "pvir.h"

static struct dentry *pvir_debugfs;

static int host_show(struct seq_file *m, void *unused)
{
	seq_printf(m, "version %u\n", pvir_host.version);
	seq_printf(m, "features-offered %#llx\n", pvir_host.features);
	seq_printf(m, "features-taken %#llx\n", pvir_features);
	seq_printf(m, "enabled %u\n", pvir_enabled());
	seq_printf(m, "conduits %#x\n", pvir_host.conduits);
	seq_printf(m, "conduit %s\n", pvir_conduit_name(pvir_host.conduit));
	seq_printf(m, "records-in-a-call %u\n", pvir_batch);
	seq_printf(m, "event-vector %#x\n", pvir_notify_vector());
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(host);

static const char *pvir_state(const struct pvir_device *device, const struct pvir_entry *entry)
{
	if (device->gone)
		return "gone";
	if (!entry->handle)
		return "virtual";
	if (device->cut_off)
		return "cut-off";
	if (entry->stale)
		return "stale";
	if (entry->retry)
		return "retry";
	return entry->routed ? "routed" : "parked";
}

static void pvir_show_entry(struct seq_file *m, const struct pvir_entry *entry)
{
	struct pvir_device *device = entry->device;
	struct pvir_entry now = *entry;
	struct irq_desc *desc;
	unsigned long flags;

	if (now.virq) {
		desc = irq_data_to_desc(irq_get_irq_data(now.virq));
		raw_spin_lock_irqsave(&desc->lock, flags);
		now = *entry;
		raw_spin_unlock_irqrestore(&desc->lock, flags);
	}
	seq_printf(m, "%s %s %u %u %u.%u %#llx/%#x ", pci_name(device->pdev),
		   now.store == PVIR_STORE_MSIX ? "msix" : "msi", now.index, now.virq,
		   lower_32_bits(now.handle), upper_32_bits(now.handle), now.address, now.data);
	if (now.routed)
		seq_printf(m, "%u %#x ", now.apic_id, now.vector);
	else
		seq_puts(m, "- - ");
	seq_printf(m, "%s\n", pvir_state(device, &now));
}

static int interrupts_show(struct seq_file *m, void *unused)
{
	struct pvir_device *device;
	struct pvir_entry *entry;
	unsigned long index;

	seq_puts(m, "device store entry irq handle pair apic-id vector state\n");
	mutex_lock(&pvir_lock);
	list_for_each_entry(device, &pvir_devices, node)
		xa_for_each(&device->entries, index, entry)
			pvir_show_entry(m, entry);
	mutex_unlock(&pvir_lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(interrupts);

static int calls_show(struct seq_file *m, void *unused)
{
	u16 i;

	seq_puts(m, "operation calls records failed rate-limited longest-ns longest-irqs-off-ns\n");
	for (i = PVIR_OP_FEATURES; i < PVIR_OPERATIONS; i++)
		seq_printf(m, "%s %lld %lld %lld %lld %lld %lld\n", pvir_operation_name(i),
			   atomic64_read(&pvir_counts[i].calls),
			   atomic64_read(&pvir_counts[i].records),
			   atomic64_read(&pvir_counts[i].failed),
			   atomic64_read(&pvir_counts[i].rate_limited),
			   atomic64_read(&pvir_counts[i].max_ns),
			   atomic64_read(&pvir_counts[i].max_atomic_ns));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(calls);

static int devices_show(struct seq_file *m, void *unused)
{
	struct pvir_device *device;

	seq_puts(m, "device msix-entries msi-messages flags interrupts state\n");
	mutex_lock(&pvir_lock);
	list_for_each_entry(device, &pvir_devices, node)
		seq_printf(m, "%s %u %u %#x %u %s\n", pci_name(device->pdev),
			   device->info.msix_entries, device->info.msi_messages,
			   device->info.flags, device->live,
			   device->gone ? "gone" : device->cut_off ? "cut-off" : "attached");
	mutex_unlock(&pvir_lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(devices);

void pvir_debugfs_init(void)
{
	pvir_debugfs = debugfs_create_dir("pvir", NULL);
	debugfs_create_file("host", 0400, pvir_debugfs, NULL, &host_fops);
	debugfs_create_file("devices", 0400, pvir_debugfs, NULL, &devices_fops);
	debugfs_create_file("interrupts", 0400, pvir_debugfs, NULL, &interrupts_fops);
	debugfs_create_file("calls", 0400, pvir_debugfs, NULL, &calls_fops);
}

void pvir_debugfs_exit(void)
{
	debugfs_remove(pvir_debugfs);
}
