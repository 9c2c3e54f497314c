// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Events: the host writes the event area and raises a vector (docs/abi.md, section 8). Without
 * NOTIFY the headers of the answers say that there was one (V5), and a look every second does.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/cpumask.h>
#include <linux/gfp.h>
#include <linux/interrupt.h>
#include <linux/irqdomain.h>
#include <linux/jiffies.h>
#include <linux/string.h>
#include <linux/workqueue.h>
#include <asm/hw_irq.h>
#include <asm/irqdomain.h>
#include <asm/smp.h>

#include "pvir.h"
#include "trace.h"

/* How often a whole event is looked for before the rest of them is taken for lost (V2, V3). */
#define PVIR_READ_TRIES		100
#define PVIR_POLL_INTERVAL	HZ

/* What the area said. */
struct pvir_event {
	u64 epoch;
	u64 sequence;
	u32 reason;
	u32 device;
};

static struct pvir_event_area *pvir_event_area;
unsigned int pvir_notify_virq;

static struct irq_domain *pvir_notify_domain;
static struct fwnode_handle *pvir_notify_fwnode;

/* The epoch after ENABLE, and that up to which all is seen to. 0 while not enabled. */
static u64 pvir_first_epoch;
static u64 pvir_seen_epoch;
/* The epoch of the latest answer that had another. */
static u64 pvir_said_epoch;

static void pvir_events_work(struct work_struct *work);
static DECLARE_DELAYED_WORK(pvir_events, pvir_events_work);

/* Looks at the devices, soon. From any context. */
void pvir_events_look(void)
{
	mod_delayed_work(system_freezable_wq, &pvir_events, 0);
}

/* The epoch of an answer. From any context. */
void pvir_events_saw(u64 epoch)
{
	u64 seen = READ_ONCE(pvir_seen_epoch);

	if (!epoch || !seen || epoch == seen)
		return;
	WRITE_ONCE(pvir_said_epoch, epoch);
	pvir_events_look();
}

/* Whether the session is on: between ENABLE and DISABLE. */
bool pvir_enabled(void)
{
	return READ_ONCE(pvir_seen_epoch);
}

/* Reads the area until it holds a whole event. False if the host has overtaken us. */
static bool pvir_read_event(struct pvir_event *event)
{
	int tries = PVIR_READ_TRIES;

	do {
		/* reason and device are one store of the host, so one load here. */
		union {
			u64 both;
			struct {
				u32 reason;
				u32 device;
			};
		} half;

		event->epoch = READ_ONCE(pvir_event_area->epoch);
		smp_rmb(); /* the host writes the epoch last, we read it first */
		half.both = READ_ONCE(*(u64 *)&pvir_event_area->reason);
		smp_rmb(); /* and the sequence first, which we read last */
		event->sequence = READ_ONCE(pvir_event_area->sequence);
		event->reason = half.reason;
		event->device = half.device;
		if (event->sequence == event->epoch - pvir_first_epoch)
			return true;
	} while (--tries);
	return false;
}

/*
 * One event says which device; where several were merged or none can be read, all are suspect
 * (V3).
 */
static void pvir_events_work(struct work_struct *work)
{
	struct pvir_event event = { .device = PVIR_EVERY_DEVICE };
	struct pvir_device *device;
	bool one = false;

	mutex_lock(&pvir_lock);
	if (!pvir_seen_epoch)
		goto out;
	if (!pvir_event_area) {
		WRITE_ONCE(pvir_seen_epoch, pvir_said_epoch);
	} else if (pvir_read_event(&event)) {
		/* With no new event it is a call that has met a dead handle. */
		one = event.epoch == pvir_seen_epoch + 1;
		if (event.epoch != pvir_seen_epoch)
			trace_pvir_event(event.epoch, event.sequence, event.reason, event.device);
		WRITE_ONCE(pvir_seen_epoch, event.epoch);
	}
	list_for_each_entry(device, &pvir_devices, node)
		if (!one || event.device == PVIR_EVERY_DEVICE || event.device == device->id)
			pvir_recover_device(device);
	if (!(pvir_features & PVIR_FEATURE_NOTIFY))
		queue_delayed_work(system_freezable_wq, &pvir_events, PVIR_POLL_INTERVAL);
out:
	mutex_unlock(&pvir_lock);
}

static irqreturn_t pvir_announced(int irq, void *data)
{
	pvir_events_look();
	return IRQ_HANDLED;
}

/*
 * The vector of NOTIFY: an interrupt on the boot CPU that no device raises. It cannot move,
 * because ENABLE has fixed its APIC id and vector.
 */
static struct irq_chip pvir_notify_chip = {
	.name		= "PVIR-EVENT",
	.irq_ack	= irq_chip_ack_parent,
	.irq_retrigger	= irq_chip_retrigger_hierarchy,
	.flags		= IRQCHIP_SKIP_SET_WAKE,
};

static int pvir_notify_alloc(struct irq_domain *domain, unsigned int virq, unsigned int count,
			     void *arg)
{
	int ret = irq_domain_alloc_irqs_parent(domain, virq, count, arg);

	if (ret)
		return ret;
	irq_domain_set_info(domain, virq, virq, &pvir_notify_chip, NULL, handle_edge_irq, NULL,
			    "edge");
	return 0;
}

static const struct irq_domain_ops pvir_notify_ops = {
	.alloc	= pvir_notify_alloc,
	.free	= irq_domain_free_irqs_common,
};

static int pvir_notify_init(void)
{
	struct irq_alloc_info info = {
		.mask = cpumask_of(0),
	};
	int virq;

	pvir_notify_fwnode = irq_domain_alloc_named_fwnode("PVIR-EVENT");
	if (!pvir_notify_fwnode)
		return -ENOMEM;
	pvir_notify_domain = irq_domain_create_hierarchy(x86_vector_domain, 0, 0,
							 pvir_notify_fwnode, &pvir_notify_ops,
							 NULL);
	if (!pvir_notify_domain)
		return -ENOMEM;
	virq = irq_domain_alloc_irqs(pvir_notify_domain, 1, NUMA_NO_NODE, &info);
	if (virq < 0)
		return virq;
	if (request_irq(virq, pvir_announced, IRQF_NOBALANCING | IRQF_NO_THREAD, "pvir events",
			&pvir_notify_virq)) {
		irq_dispose_mapping(virq);
		return -EBUSY;
	}
	pvir_notify_virq = virq;
	return 0;
}

static void pvir_notify_exit(void)
{
	if (pvir_notify_virq) {
		free_irq(pvir_notify_virq, &pvir_notify_virq);
		irq_dispose_mapping(pvir_notify_virq);
	}
	if (pvir_notify_domain)
		irq_domain_remove(pvir_notify_domain);
	if (pvir_notify_fwnode)
		irq_domain_free_fwnode(pvir_notify_fwnode);
	pvir_notify_virq = 0;
	pvir_notify_domain = NULL;
	pvir_notify_fwnode = NULL;
}

u32 pvir_notify_vector(void)
{
	return pvir_notify_virq ? irqd_cfg(irq_get_irq_data(pvir_notify_virq))->vector : 0;
}

/* What of events the host offers is got ready; pvir_features loses what cannot be. */
int pvir_events_init(void)
{
	if (!(pvir_features & PVIR_FEATURE_EPOCH))
		pvir_features &= ~PVIR_FEATURE_NOTIFY;
	else
		pvir_event_area = (void *)get_zeroed_page(GFP_KERNEL);
	if (pvir_features & PVIR_FEATURE_EPOCH && !pvir_event_area)
		return -ENOMEM;
	if (pvir_features & PVIR_FEATURE_NOTIFY && pvir_notify_init()) {
		pr_warn("no vector for events, they are looked for once a second\n");
		pvir_notify_exit();
		pvir_features &= ~PVIR_FEATURE_NOTIFY;
	}
	return 0;
}

void pvir_events_exit(void)
{
	cancel_delayed_work_sync(&pvir_events);
	pvir_notify_exit();
	free_page((unsigned long)pvir_event_area);
	pvir_event_area = NULL;
}

/* The fields of ENABLE that are about events (E2). */
void pvir_events_enable(struct pvir_enable_record *record)
{
	if (pvir_event_area)
		record->event_area = virt_to_phys(pvir_event_area);
	if (pvir_features & PVIR_FEATURE_NOTIFY) {
		record->notify_apic_id = cpu_physical_id(0);
		record->notify_vector = pvir_notify_vector();
	}
}

/* The session has begun, or with 0 has ended. */
void pvir_events_enabled(u64 epoch)
{
	pvir_first_epoch = epoch;
	pvir_said_epoch = epoch;
	WRITE_ONCE(pvir_seen_epoch, epoch);
	if (epoch && !(pvir_features & PVIR_FEATURE_NOTIFY))
		queue_delayed_work(system_freezable_wq, &pvir_events, PVIR_POLL_INTERVAL);
}
