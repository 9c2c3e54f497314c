/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * pvir: paravirtual interrupt remapping. The guest asks its VMM for the pair (address, data) of
 * an interrupt remapping table entry, and writes it into a device's MSI-X table itself, without
 * an exit.
 *
 * docs/abi.md is the contract; letters and numbers such as (M6) are its statements. README.md
 * here says which callback makes which call, and in what context.
 *
 * Locks, from the outside: device_lock, the mutex of a device's MSI descriptors, that of the
 * irq domain, pvir_lock, the raw lock of an irq_desc. Calls are made under all of them.
 */
#ifndef PVIR_H
#define PVIR_H

#include <linux/irq.h>
#include <linux/irqdomain.h>
#include <linux/list.h>
#include <linux/msi.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/types.h>
#include <linux/xarray.h>

#include "pvir_abi.h"

/* The header is not indexed by anything larger. */
#define PVIR_OPERATIONS		(PVIR_OP_DETACH + 1)
/* Records in one call from where nothing may sleep: what a page holds beside the header. */
#define PVIR_ATOMIC_RECORDS	63
/* Before the name of a device's domain. */
#define PVIR_PREFIX		"PVIR-"

#define PVIR_FEATURES_NEEDED	(PVIR_FEATURE_MSIX | PVIR_FEATURE_PARKING | PVIR_FEATURE_ATTACH)
#define PVIR_FEATURES_USED	(PVIR_FEATURES_NEEDED | PVIR_FEATURE_MSI | PVIR_FEATURE_EPOCH | \
				 PVIR_FEATURE_NOTIFY)

/**
 * struct pvir_host - what the host's CPUID block says
 * @version:	the newest version that both speak
 * @features:	features that are offered
 * @max_records: most records in one call
 * @conduits:	conduits that work for this VM
 * @msr:	index of the MSR of the conduit MSR
 * @port:	I/O port of the conduit PORT
 * @conduit:	the one that is used, a single bit of @conduits
 */
struct pvir_host {
	u16 version;
	u64 features;
	u32 max_records;
	u32 conduits;
	u32 msr;
	u16 port;
	u32 conduit;
};

/**
 * struct pvir_entry - one entry of a device's store that is mapped
 * @device:	whose
 * @store:	PVIR_STORE_MSIX or PVIR_STORE_MSI
 * @index:	place in the store
 * @virq:	Linux's number of the interrupt, 0 when it was freed and not yet unmapped
 * @handle:	the host's name of it; 0 for an entry that the table does not have (PCI_IRQ_VIRTUAL)
 * @address:	of the pair
 * @data:	of the pair
 * @level:	our level of the interrupt's data, while a driver at work is taken or given back
 * @routed:	it has a destination, @apic_id and @vector
 * @apic_id:	where the host sends it
 * @vector:	as which vector
 * @stale:	the handle is dead, the recovery maps it again
 * @retry:	the host did not move it, the recovery tries again
 *
 * @virq is under pvir_lock. All below it is under the raw lock of the interrupt's descriptor
 * while there is an interrupt, and else under pvir_lock.
 */
struct pvir_entry {
	struct pvir_device *device;
	u16 store;
	u32 index;
	unsigned int virq;
	u64 handle;
	u64 address;
	u32 data;
	struct irq_data *level;
	bool routed;
	u32 apic_id;
	u8 vector;
	bool stale;
	bool retry;
};

/**
 * struct pvir_device - a PCI function that the host serves, and that is attached
 * @node:	in pvir_devices
 * @pdev:	the function
 * @id:		segment and BDF
 * @info:	what DEVICE_INFO said
 * @domain:	the MSI domain that it had, for the day when it is given back
 * @msi_domain:	its own domain, above ours; known with its first interrupt
 * @entries:	struct pvir_entry by index
 * @records:	@capacity records for calls, as many as the store has entries
 * @capacity:	see @records
 * @live:	entries with an interrupt
 * @pinned:	it holds a reference to the module: an unload could not give it back now
 * @not_bound:	the driver for which it was pinned has failed to bind
 * @detached:	it is being given back: nothing is routed any more
 * @gone:	DEVICE_GONE: nothing is asked for it any more
 * @cut_off:	DEVICE_CUT_OFF: until its driver has reset it
 */
struct pvir_device {
	struct list_head node;
	struct pci_dev *pdev;
	u32 id;
	struct pvir_device_record info;
	struct irq_domain *domain;
	struct irq_domain *msi_domain;
	struct xarray entries;
	struct pvir_entry_record *records;
	u32 capacity;
	unsigned int live;
	bool pinned;
	bool not_bound;
	bool detached;
	bool gone;
	bool cut_off;
};

extern struct pvir_host pvir_host;
extern u64 pvir_features;
extern unsigned int pvir_batch;
extern struct mutex pvir_lock;
extern struct list_head pvir_devices;

/* conduit.c */
int pvir_discover(const char *wanted);
u32 pvir_conduit_call(phys_addr_t block, const u32 *status);
const char *pvir_conduit_name(u32 conduit);

/* call.c */
int pvir_calls_init(void);
void pvir_calls_exit(void);
int pvir_call(u16 operation, void *records, u32 count);
int pvir_call_atomic(u16 operation, void *records, u32 count);
int pvir_errno(u32 status);
const char *pvir_status_name(u32 status);
const char *pvir_operation_name(u16 operation);
const char *pvir_refusal_name(u32 refusal);

struct pvir_call_counts {
	atomic64_t calls;
	atomic64_t records;
	atomic64_t failed;
	atomic64_t rate_limited;
	atomic64_t max_ns;
	atomic64_t max_atomic_ns;
};

extern struct pvir_call_counts pvir_counts[PVIR_OPERATIONS];

/* main.c */
int pvir_enable(void);
bool pvir_excluded(struct pci_dev *pdev);

/* device.c */
int pvir_devices_init(void);
void pvir_devices_exit(void);
struct pvir_device *pvir_device_find(struct device *dev);
int pvir_device_attach(struct pvir_device *device);
void pvir_device_pin(struct pvir_device *device);
void pvir_device_unpin(struct pvir_device *device);
struct pvir_device *pvir_device_candidate(struct pci_dev *pdev);
void pvir_device_add(struct pvir_device *device);
void pvir_device_free(struct pvir_device *device);
void pvir_detach(struct pvir_device *device);
void pvir_drop(struct pvir_device *device);
void pvir_release(struct pvir_device *device);
bool pvir_device_try_unpin(struct pvir_device *device);

/* live.c */
void pvir_return(struct pci_dev *pdev);
void pvir_take(struct pci_dev *pdev);

/* map.c */
struct pvir_entry *pvir_entry_make(struct pvir_device *device, const struct msi_desc *desc);
int pvir_map_new(struct pvir_device *device);
void pvir_unmap_unused(struct pvir_device *device);
void pvir_unmap_soon(void);
void pvir_unmap_exit(void);
void pvir_forget_entries(struct pvir_device *device);
struct pvir_entry_record pvir_entry_request(const struct pvir_entry *entry);
int pvir_entry_accept(struct pvir_entry *entry, const struct pvir_entry_record *answer);
int pvir_retarget(struct pvir_entry *entry, struct irq_data *irqd);
int pvir_park(struct pvir_entry *entry);

/* domain.c */
extern struct irq_domain *pvir_domain;
extern struct irq_domain *pvir_parent_domain;
extern struct irq_chip pvir_chip;
void pvir_adapt_info(struct msi_domain_info *info);
int pvir_domain_init(void);
void pvir_domain_exit(void);
bool pvir_domain_replaces(const struct irq_domain *domain);

/* event.c */
extern unsigned int pvir_notify_virq;
int pvir_events_init(void);
void pvir_events_exit(void);
void pvir_events_enable(struct pvir_enable_record *record);
void pvir_events_enabled(u64 epoch);
void pvir_events_look(void);
void pvir_events_saw(u64 epoch);
bool pvir_enabled(void);
u32 pvir_notify_vector(void);

/* recover.c */
int pvir_recovery_init(void);
void pvir_recovery_exit(void);
void pvir_recover_soon(unsigned int ms);
void pvir_recover_device(struct pvir_device *device);
void pvir_map_again(struct pvir_device *device);

/* power.c */
int pvir_power_init(void);
void pvir_power_exit(void);

/* debugfs.c */
#ifdef CONFIG_DEBUG_FS
void pvir_debugfs_init(void);
void pvir_debugfs_exit(void);
#else
static inline void pvir_debugfs_init(void) { }
static inline void pvir_debugfs_exit(void) { }
#endif

#endif /* PVIR_H */
