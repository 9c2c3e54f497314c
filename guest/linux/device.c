// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Devices: each that the host serves is attached while it has no driver (docs/abi.md, A1 to
 * A8), at load, when it is added, or when its driver has left it. One that is in use goes on as
 * it is: its interrupts hang below x86's vector domain, and Linux has no way to put another
 * domain between.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#define dev_fmt pr_fmt

#include <linux/device.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/notifier.h>
#include <linux/slab.h>

#include "pvir.h"

LIST_HEAD(pvir_devices);

/* The caller holds pvir_lock. */
struct pvir_device *pvir_device_find(struct device *dev)
{
	struct pvir_device *device;

	list_for_each_entry(device, &pvir_devices, node)
		if (&device->pdev->dev == dev)
			return device;
	return NULL;
}

/* An unload would leave something of the device above a domain that is no more. */
void pvir_device_pin(struct pvir_device *device)
{
	if (device->pinned)
		return;
	__module_get(THIS_MODULE);
	device->pinned = true;
}

void pvir_device_unpin(struct pvir_device *device)
{
	if (device->pinned)
		module_put(THIS_MODULE);
	device->pinned = false;
}

/*
 * A driver was not bound after all, and what it has made goes only after the notifier has said
 * so. The caller holds pvir_lock, so the device's lock cannot be waited for. False: try again.
 */
bool pvir_device_try_unpin(struct pvir_device *device)
{
	struct device *dev = &device->pdev->dev;

	if (!device->not_bound)
		return true;
	if (!device_trylock(dev))
		return false;
	if (!dev->driver && !dev->msi.data) {
		device->msi_domain = NULL;
		pvir_device_unpin(device);
	}
	device->not_bound = false;
	device_unlock(dev);
	return true;
}

static u32 pvir_device_id(struct pci_dev *pdev)
{
	return PVIR_DEVICE(pci_domain_nr(pdev->bus), pci_dev_id(pdev));
}

/* What the host serves of it. Devices of the VMM's own are none of its. */
static bool pvir_device_ask(struct pci_dev *pdev, struct pvir_device_record *info)
{
	*info = (struct pvir_device_record) {
		.device = pvir_device_id(pdev),
		.status = PVIR_STATUS_PENDING,
	};
	if (pci_domain_nr(pdev->bus) > U16_MAX || pvir_call(PVIR_OP_DEVICE_INFO, info, 1) ||
	    info->status != PVIR_STATUS_OK)
		return false;
	return (info->stores & PVIR_STORES_MSIX && info->msix_entries) ||
	       (info->stores & PVIR_STORES_MSI && info->msi_messages &&
		pvir_features & PVIR_FEATURE_MSI);
}

/**
 * pvir_device_attach - ATTACH: the device's table is mapped into the guest, all of it masked (A3)
 * @device:	one that is not attached, or may be
 *
 * May sleep. The caller holds pvir_lock.
 *
 * Return: 0, or why the device keeps its trapped messages.
 */
int pvir_device_attach(struct pvir_device *device)
{
	struct pvir_attach_record record = {
		.device = device->id,
		.status = PVIR_STATUS_PENDING,
	};
	int ret = pvir_call(PVIR_OP_ATTACH, &record, 1);

	if (ret) {
		pci_warn(device->pdev, "not attached: %pe\n", ERR_PTR(ret));
		return ret;
	}
	switch (record.status) {
	case PVIR_STATUS_OK:
	case PVIR_STATUS_ALREADY_ATTACHED:
		return 0;
	case PVIR_STATUS_REFUSED:
		pci_warn(device->pdev, "the host refuses it, its interrupts are trapped: %s\n",
			 pvir_refusal_name(record.refusal));
		return -EPERM;
	default:
		pci_warn(device->pdev, "not attached, its interrupts are trapped: %s\n",
			 pvir_status_name(record.status));
		return pvir_errno(record.status) ?: -EIO;
	}
}

void pvir_device_free(struct pvir_device *device)
{
	pvir_forget_entries(device);
	kvfree(device->records);
	pci_dev_put(device->pdev);
	kfree(device);
}

/**
 * pvir_device_candidate - a device that the host serves, and that is not attached
 * @pdev:	the function
 *
 * May sleep. The caller holds pvir_lock and the device's lock.
 *
 * Return: it, not yet attached nor in the list, or NULL.
 */
struct pvir_device *pvir_device_candidate(struct pci_dev *pdev)
{
	struct pvir_device_record info;
	struct pvir_device *device;
	int entries;

	if (pvir_device_find(&pdev->dev) || pvir_excluded(pdev) ||
	    !pvir_domain_replaces(dev_get_msi_domain(&pdev->dev)) || !pvir_device_ask(pdev, &info))
		return NULL;
	device = kzalloc(sizeof(*device), GFP_KERNEL);
	if (!device)
		return NULL;
	entries = pci_msix_vec_count(pdev);
	device->capacity = max(entries, 1);
	device->records = kvcalloc(device->capacity, sizeof(*device->records), GFP_KERNEL);
	if (!device->records) {
		kfree(device);
		return NULL;
	}
	device->pdev = pci_dev_get(pdev);
	device->id = info.device;
	device->info = info;
	device->domain = dev_get_msi_domain(&pdev->dev);
	xa_init(&device->entries);
	return device;
}

/* From now on its interrupts are ours. */
void pvir_device_add(struct pvir_device *device)
{
	list_add_tail(&device->node, &pvir_devices);
	dev_set_msi_domain(&device->pdev->dev, pvir_domain);
}

/*
 * Takes a device that has no driver, or is about to get one. Nothing of its interrupts exists: what
 * there is hangs on dev->msi.data, which goes with the driver.
 */
static void pvir_adopt(struct pci_dev *pdev)
{
	struct pvir_device *device;

	device_lock_assert(&pdev->dev);
	mutex_lock(&pvir_lock);
	device = pdev->dev.msi.data ? NULL : pvir_device_candidate(pdev);
	if (device && pvir_device_attach(device)) {
		pvir_device_free(device);
	} else if (device) {
		pvir_device_add(device);
		pci_info(pdev, "attached: %u MSI-X entries, %u MSI messages\n",
			 device->info.msix_entries, device->info.msi_messages);
	}
	mutex_unlock(&pvir_lock);
}

/* Trapped messages serve it from now on (A6). The caller holds pvir_lock. */
void pvir_detach(struct pvir_device *device)
{
	struct pvir_attach_record record = {
		.device = device->id,
		.status = PVIR_STATUS_PENDING,
	};

	device->detached = true;
	if (device->gone)
		return;
	pvir_call(PVIR_OP_DETACH, &record, 1);
	if (record.status != PVIR_STATUS_OK && record.status != PVIR_STATUS_DEVICE_GONE &&
	    record.status != PVIR_STATUS_NO_DEVICE)
		pci_warn(device->pdev, "DETACH: %s\n", pvir_status_name(record.status));
}

/* Forgets a device that is detached. The caller holds pvir_lock. */
void pvir_drop(struct pvir_device *device)
{
	dev_set_msi_domain(&device->pdev->dev, device->domain);
	list_del(&device->node);
	pvir_device_unpin(device);
	pvir_device_free(device);
}

/* Gives a device back that has no driver. The caller holds pvir_lock. */
void pvir_release(struct pvir_device *device)
{
	pvir_detach(device);
	pvir_drop(device);
}

static void pvir_driver_not_bound(struct pci_dev *pdev)
{
	struct pvir_device *device;

	mutex_lock(&pvir_lock);
	device = pvir_device_find(&pdev->dev);
	if (device) {
		device->not_bound = true;
		pvir_unmap_soon();
	}
	mutex_unlock(&pvir_lock);
}

static void pvir_driver_left(struct pci_dev *pdev)
{
	struct pvir_device *device;

	mutex_lock(&pvir_lock);
	device = pvir_device_find(&pdev->dev);
	if (device) {
		pvir_unmap_unused(device);
		device->msi_domain = NULL;
		pvir_device_unpin(device);
	}
	mutex_unlock(&pvir_lock);
	pvir_adopt(pdev);
}

static void pvir_driver_comes(struct pci_dev *pdev)
{
	struct pvir_device *device;

	pvir_adopt(pdev);
	mutex_lock(&pvir_lock);
	device = pvir_device_find(&pdev->dev);
	/* The administrator has changed the list since. */
	if (device && pvir_excluded(pdev) && !pdev->dev.msi.data)
		pvir_release(device);
	mutex_unlock(&pvir_lock);
}

static void pvir_removed(struct pci_dev *pdev)
{
	struct pvir_device *device;

	mutex_lock(&pvir_lock);
	device = pvir_device_find(&pdev->dev);
	if (device)
		pvir_release(device);
	mutex_unlock(&pvir_lock);
}

static int pvir_notify(struct notifier_block *nb, unsigned long action, void *data)
{
	struct pci_dev *pdev = to_pci_dev(data);

	switch (action) {
	case BUS_NOTIFY_ADD_DEVICE:
		device_lock(&pdev->dev);
		pvir_adopt(pdev);
		device_unlock(&pdev->dev);
		break;
	case BUS_NOTIFY_BIND_DRIVER:
		pvir_driver_comes(pdev);
		break;
	case BUS_NOTIFY_DRIVER_NOT_BOUND:
		pvir_driver_not_bound(pdev);
		break;
	case BUS_NOTIFY_UNBOUND_DRIVER:
		pvir_driver_left(pdev);
		break;
	case BUS_NOTIFY_REMOVED_DEVICE:
		pvir_removed(pdev);
		break;
	}
	return NOTIFY_DONE;
}

static struct notifier_block pvir_notifier = {
	.notifier_call = pvir_notify,
};

/* All that have no driver, and where Linux's state allows it those that have one. */
int pvir_devices_init(void)
{
	struct pci_dev *pdev = NULL;
	int ret;

	ret = bus_register_notifier(&pci_bus_type, &pvir_notifier);
	if (ret)
		return ret;
	for_each_pci_dev(pdev) {
		device_lock(&pdev->dev);
		if (!device_is_registered(&pdev->dev))
			; /* on its way, in or out */
		else if (pdev->dev.driver)
			pvir_take(pdev);
		else
			pvir_adopt(pdev);
		device_unlock(&pdev->dev);
	}
	return 0;
}

void pvir_devices_exit(void)
{
	struct pci_dev *pdev = NULL;

	bus_unregister_notifier(&pci_bus_type, &pvir_notifier);
	for_each_pci_dev(pdev) {
		device_lock(&pdev->dev);
		pvir_return(pdev);
		device_unlock(&pdev->dev);
	}
}
