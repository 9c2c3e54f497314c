// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Devices: each that the host serves is attached while it has no driver (docs/abi.md, A1 to
 * A8), at load, when it is added, or when its driver has left it. One that is in use goes on as
 * it is: its interrupts hang below x86's vector domain, and Linux has no way to put another
 * domain between.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

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

/* A domain of the device's own is above ours until its driver leaves it: no unload before. */
void pvir_device_pin(struct pvir_device *device)
{
	if (device->pinned)
		return;
	__module_get(THIS_MODULE);
	device->pinned = true;
}

static void pvir_device_unpin(struct pvir_device *device)
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
	if (!dev->driver && !dev->msi.data)
		pvir_device_unpin(device);
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

static void pvir_device_free(struct pvir_device *device)
{
	pvir_forget_entries(device);
	kvfree(device->records);
	pci_dev_put(device->pdev);
	kfree(device);
}

static struct pvir_device *pvir_device_make(struct pci_dev *pdev,
					    const struct pvir_device_record *info)
{
	struct pvir_device *device = kzalloc(sizeof(*device), GFP_KERNEL);
	int entries = pci_msix_vec_count(pdev);

	if (!device)
		return NULL;
	device->capacity = max(entries, 1);
	device->records = kvcalloc(device->capacity, sizeof(*device->records), GFP_KERNEL);
	if (!device->records) {
		kfree(device);
		return NULL;
	}
	device->pdev = pci_dev_get(pdev);
	device->id = info->device;
	device->info = *info;
	device->domain = dev_get_msi_domain(&pdev->dev);
	xa_init(&device->entries);
	return device;
}

/*
 * Takes a device that has no driver, or is about to get one. Nothing of its interrupts exists:
 * what there is hangs on dev->msi.data, which goes with the driver.
 */
static void pvir_adopt(struct pci_dev *pdev)
{
	struct pvir_device *device;
	struct pvir_device_record info;

	device_lock_assert(&pdev->dev);
	mutex_lock(&pvir_lock);
	if (pvir_device_find(&pdev->dev) || pdev->dev.msi.data || pvir_excluded(pdev) ||
	    !pvir_domain_replaces(dev_get_msi_domain(&pdev->dev)) || !pvir_device_ask(pdev, &info))
		goto out;
	device = pvir_device_make(pdev, &info);
	if (!device)
		goto out;
	if (pvir_device_attach(device)) {
		pvir_device_free(device);
		goto out;
	}
	list_add_tail(&device->node, &pvir_devices);
	dev_set_msi_domain(&pdev->dev, pvir_domain);
	pci_info(pdev, "attached: %u MSI-X entries, %u MSI messages\n", info.msix_entries,
		 info.msi_messages);
out:
	mutex_unlock(&pvir_lock);
}

/*
 * Gives a device back that has no driver: trapped messages serve it from now on (A6). The caller
 * holds pvir_lock.
 */
static void pvir_release(struct pvir_device *device)
{
	struct pvir_attach_record record = {
		.device = device->id,
		.status = PVIR_STATUS_PENDING,
	};

	if (!device->gone)
		pvir_call(PVIR_OP_DETACH, &record, 1);
	if (!device->gone && record.status != PVIR_STATUS_OK &&
	    record.status != PVIR_STATUS_DEVICE_GONE && record.status != PVIR_STATUS_NO_DEVICE)
		pci_warn(device->pdev, "DETACH: %s\n", pvir_status_name(record.status));
	dev_set_msi_domain(&device->pdev->dev, device->domain);
	list_del(&device->node);
	pvir_device_unpin(device);
	pvir_device_free(device);
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

/* All that have no driver, now; the notifier sees to the others. */
int pvir_devices_init(void)
{
	struct pci_dev *pdev = NULL;
	int ret;

	ret = bus_register_notifier(&pci_bus_type, &pvir_notifier);
	if (ret)
		return ret;
	for_each_pci_dev(pdev) {
		device_lock(&pdev->dev);
		if (!pdev->dev.driver && device_is_registered(&pdev->dev))
			pvir_adopt(pdev);
		device_unlock(&pdev->dev);
	}
	return 0;
}

/* No driver uses any, or the module would be in use. */
void pvir_devices_exit(void)
{
	struct pvir_device *device, *next;

	bus_unregister_notifier(&pci_bus_type, &pvir_notifier);
	mutex_lock(&pvir_lock);
	list_for_each_entry_safe(device, next, &pvir_devices, node) {
		pvir_unmap_unused(device);
		pvir_release(device);
	}
	mutex_unlock(&pvir_lock);
}
