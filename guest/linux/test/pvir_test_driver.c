// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * A driver of the emulated device of pvir (docs/emulated-device.md) for tests:
 * it takes interrupts as any driver does, and tells whether one was lost.
 *
 * It knows nothing of pvir. The file "control" in the folder of the device
 * below /sys/kernel/debug/pvir-test takes one command at a time, the file
 * "status" tells what came of it:
 *
 *   request N	allocates N MSI-X vectors and requests all of them
 *   free	gives back all
 *   add	allocates one vector more (pci_msix_alloc_irq_at) and requests it
 *   drop	gives back the last of these
 *   rate FIRST COUNT MICROSECONDS ROUNDS
 *		has the device raise COUNT interrupts in each of so many rounds
 *   stop	ends that
 *   raise N	raises one
 *   resend N	raises one while its handler is off
 *   msi N	allocates up to N messages of MSI and requests them
 *   event N	has the host raise an event of this device (its register EVENT)
 *   wake N	1: its first interrupt wakes the machine; 0: it is still while that sleeps
 */

#include <linux/debugfs.h>
#include <linux/dma-mapping.h>
#include <linux/interrupt.h>
#include <linux/module.h>
#include <linux/pm.h>

#include "pvir_test.h"

static struct dentry *test_root;

static int test_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct test_device *dev;
	size_t size;
	unsigned int index;
	int ret;

	dev = devm_kzalloc(&pdev->dev, sizeof(*dev), GFP_KERNEL);
	if (!dev)
		return -ENOMEM;
	dev->pdev = pdev;
	mutex_init(&dev->lock);
	ret = pcim_enable_device(pdev);
	if (ret)
		return ret;
	ret = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	if (ret)
		return ret;
	dev->regs = pcim_iomap(pdev, 0, 0);
	if (!dev->regs)
		return -ENOMEM;
	if (ioread32(dev->regs + REG_IDENTITY) != IDENTITY)
		return -ENODEV;
	dev->entries = min_t(u32, ioread32(dev->regs + REG_VECTORS), MAX_VECTORS);
	size = array_size(dev->entries, sizeof(*dev->sequences));
	dev->sequences = dmam_alloc_coherent(&pdev->dev, size, &dev->sequences_dma, GFP_KERNEL);
	dev->vectors = devm_kcalloc(&pdev->dev, dev->entries, sizeof(*dev->vectors), GFP_KERNEL);
	if (!dev->sequences || !dev->vectors)
		return -ENOMEM;
	/* The kernel of before may have crashed while it raised interrupts. */
	iowrite32(0, dev->regs + REG_RATE_RUN);
	/* The device has counted since it was made. */
	for (index = 0; index < dev->entries; index++) {
		iowrite32(index, dev->regs + REG_SELECT);
		dev->sequences[index] = cpu_to_le64(ioread32(dev->regs + REG_RAISED));
	}
	iowrite32(lower_32_bits(dev->sequences_dma), dev->regs + REG_SEQUENCES_LOW);
	iowrite32(upper_32_bits(dev->sequences_dma), dev->regs + REG_SEQUENCES_HIGH);
	pci_set_master(pdev);
	pci_set_drvdata(pdev, dev);

	test_add_files(dev, test_root);
	return 0;
}

static void test_quiesce(struct test_device *dev)
{
	mutex_lock(&dev->lock);
	test_free(dev);
	iowrite32(0, dev->regs + REG_SEQUENCES_LOW);
	iowrite32(0, dev->regs + REG_SEQUENCES_HIGH);
	pci_clear_master(dev->pdev);
	mutex_unlock(&dev->lock);
}

static void test_remove(struct pci_dev *pdev)
{
	struct test_device *dev = pci_get_drvdata(pdev);

	debugfs_remove(dev->dir);
	test_quiesce(dev);
}

static void test_shutdown(struct pci_dev *pdev)
{
	test_quiesce(pci_get_drvdata(pdev));
}

static int test_suspend(struct device *device)
{
	struct test_device *dev = dev_get_drvdata(device);

	if (dev->wakes && dev->requested)
		return enable_irq_wake(dev->vectors[0].irq);
	test_pause(dev);
	return 0;
}

static int test_resume(struct device *device)
{
	struct test_device *dev = dev_get_drvdata(device);

	if (dev->wakes && dev->requested)
		return disable_irq_wake(dev->vectors[0].irq);
	test_go_on(dev);
	return 0;
}

/* An image of memory has to be of one moment, so that the device is still in any case. */
static int test_freeze(struct device *device)
{
	test_pause(dev_get_drvdata(device));
	return 0;
}

static int test_thaw(struct device *device)
{
	test_go_on(dev_get_drvdata(device));
	return 0;
}

static const struct dev_pm_ops test_pm = {
	.suspend = test_suspend,
	.resume = test_resume,
	.freeze = test_freeze,
	.thaw = test_thaw,
	.restore = test_thaw,
};

static const struct pci_device_id test_ids[] = {
	{ PCI_DEVICE(PVIR_TEST_VENDOR, PVIR_TEST_DEVICE) },
	{ }
};
MODULE_DEVICE_TABLE(pci, test_ids);

static struct pci_driver test_driver = {
	.name = "pvir_test_device",
	.id_table = test_ids,
	.probe = test_probe,
	.remove = test_remove,
	.shutdown = test_shutdown,
	.driver.pm = &test_pm,
};

static int __init test_init(void)
{
	int ret;

	test_root = debugfs_create_dir("pvir-test", NULL);
	ret = pci_register_driver(&test_driver);
	if (ret)
		debugfs_remove(test_root);
	return ret;
}
module_init(test_init);

static void __exit test_exit(void)
{
	pci_unregister_driver(&test_driver);
	debugfs_remove(test_root);
}
module_exit(test_exit);

MODULE_DESCRIPTION("Test driver of pvir's emulated device");
MODULE_LICENSE("Dual MIT/GPL");
