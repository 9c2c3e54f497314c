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
 */

#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/module.h>
#include <linux/msi.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/seq_file.h>
#include <linux/uaccess.h>

#define PVIR_TEST_VENDOR	0x5056
#define PVIR_TEST_DEVICE	0x0001

/* Registers of BAR 0. */
#define REG_IDENTITY		0x00
#define REG_VECTORS		0x04
#define REG_TIMES		0x08
#define REG_RAISE		0x0c
#define REG_SELECT		0x10
#define REG_RAISED		0x20
#define REG_SEQUENCES_LOW	0x38
#define REG_SEQUENCES_HIGH	0x3c
#define REG_RATE_FIRST		0x40
#define REG_RATE_COUNT		0x44
#define REG_RATE_INTERVAL	0x48
#define REG_RATE_ROUNDS		0x4c
#define REG_RATE_RUN		0x50

#define IDENTITY		0x44455650
#define MAX_VECTORS		2048

struct test_device;

/* One interrupt of the device. */
struct test_vector {
	struct test_device *dev;
	unsigned int index;	/* entry of the MSI-X table */
	int irq;		/* 0 while it is not requested */
	bool dynamic;		/* came with "add" */
	u64 before;		/* sequence number when it was requested */
	u64 seen;		/* sequence number at the last call of the handler */
	u64 handled;		/* calls of the handler */
	u64 idle;		/* calls that found nothing new */
};

struct test_device {
	struct pci_dev *pdev;
	void __iomem *regs;
	__le64 *sequences;	/* written by the device */
	dma_addr_t sequences_dma;
	struct mutex lock;	/* commands, one at a time */
	struct dentry *dir;
	unsigned int entries;	/* of the table */
	unsigned int requested;	/* vectors[0..requested] are in use */
	bool allocated;
	struct test_vector *vectors;
};

/* MSI_ANY_INDEX comes with interrupts that are allocated one by one: Linux 6.2. */

static struct dentry *test_root;

static u64 test_sequence(const struct test_device *dev, unsigned int index)
{
	return le64_to_cpu(READ_ONCE(dev->sequences[index]));
}

static irqreturn_t test_handler(int irq, void *data)
{
	struct test_vector *vector = data;
	u64 now = test_sequence(vector->dev, vector->index);

	if (now == vector->seen)
		vector->idle++;
	vector->handled++;
	WRITE_ONCE(vector->seen, now);
	return IRQ_HANDLED;
}

static int test_request_one(struct test_device *dev, unsigned int index, int irq)
{
	struct test_vector *vector = &dev->vectors[index];
	int ret;

	*vector = (struct test_vector){ .dev = dev, .index = index };
	vector->before = test_sequence(dev, index);
	vector->seen = vector->before;
	ret = request_irq(irq, test_handler, 0, "pvir-test", vector);
	if (ret)
		return ret;
	vector->irq = irq;
	dev->requested = index + 1;
	return 0;
}

static void test_stop(struct test_device *dev)
{
	iowrite32(0, dev->regs + REG_RATE_RUN);
}

static void test_drop(struct test_device *dev)
{
	struct test_vector *vector = &dev->vectors[dev->requested - 1];

	free_irq(vector->irq, vector);
#ifdef MSI_ANY_INDEX
	if (vector->dynamic) {
		struct msi_map map = { .index = vector->index, .virq = vector->irq };

		pci_msix_free_irq(dev->pdev, map);
	}
#endif
	vector->irq = 0;
	dev->requested--;
}

static void test_free(struct test_device *dev)
{
	test_stop(dev);
	while (dev->requested)
		test_drop(dev);
	if (dev->allocated)
		pci_free_irq_vectors(dev->pdev);
	dev->allocated = false;
}

static int test_request(struct test_device *dev, unsigned int count)
{
	unsigned int index;
	int ret;

	if (dev->allocated)
		return -EBUSY;
	if (!count || count > dev->entries)
		return -EINVAL;
	ret = pci_alloc_irq_vectors(dev->pdev, count, count, PCI_IRQ_MSIX);
	if (ret < 0)
		return ret;
	dev->allocated = true;
	for (index = 0; index < count; index++) {
		ret = test_request_one(dev, index, pci_irq_vector(dev->pdev, index));
		if (ret) {
			test_free(dev);
			return ret;
		}
	}
	return 0;
}

static int test_add(struct test_device *dev)
{
#ifdef MSI_ANY_INDEX
	struct msi_map map;
	int ret;

	if (!dev->allocated || dev->requested == dev->entries)
		return -EINVAL;
	if (!pci_msix_can_alloc_dyn(dev->pdev))
		return -EOPNOTSUPP;
	map = pci_msix_alloc_irq_at(dev->pdev, dev->requested, NULL);
	if (map.index < 0)
		return map.index;
	ret = test_request_one(dev, map.index, map.virq);
	if (ret) {
		pci_msix_free_irq(dev->pdev, map);
		return ret;
	}
	dev->vectors[map.index].dynamic = true;
	return 0;
#else
	return -EOPNOTSUPP;
#endif
}

static int test_rate(struct test_device *dev, const char *numbers)
{
	u32 first, count, interval, rounds;

	if (sscanf(numbers, "%u %u %u %u", &first, &count, &interval, &rounds) != 4)
		return -EINVAL;
	iowrite32(first, dev->regs + REG_RATE_FIRST);
	iowrite32(count, dev->regs + REG_RATE_COUNT);
	iowrite32(interval, dev->regs + REG_RATE_INTERVAL);
	iowrite32(rounds, dev->regs + REG_RATE_ROUNDS);
	iowrite32(1, dev->regs + REG_RATE_RUN);
	return 0;
}

static int test_command(struct test_device *dev, const char *command)
{
	u32 number;

	if (sscanf(command, "request %u", &number) == 1)
		return test_request(dev, number);
	if (sscanf(command, "raise %u", &number) == 1) {
		iowrite32(1, dev->regs + REG_TIMES);
		iowrite32(number, dev->regs + REG_RAISE);
		return 0;
	}
	if (!strncmp(command, "rate ", 5))
		return test_rate(dev, command + 5);
	if (!strcmp(command, "add"))
		return test_add(dev);
	if (!strcmp(command, "stop")) {
		test_stop(dev);
		return 0;
	}
	if (!strcmp(command, "free")) {
		test_free(dev);
		return 0;
	}
	if (!strcmp(command, "drop")) {
		if (!dev->requested || !dev->vectors[dev->requested - 1].dynamic)
			return -EINVAL;
		test_drop(dev);
		return 0;
	}
	return -EINVAL;
}

static ssize_t test_control_write(struct file *file, const char __user *buffer,
				  size_t size, loff_t *offset)
{
	struct test_device *dev = file->private_data;
	char command[64];
	int ret;

	if (size >= sizeof(command))
		return -EINVAL;
	if (copy_from_user(command, buffer, size))
		return -EFAULT;
	command[size] = '\0';
	mutex_lock(&dev->lock);
	ret = test_command(dev, strim(command));
	mutex_unlock(&dev->lock);
	return ret ? ret : size;
}

static const struct file_operations test_control = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = test_control_write,
};

/*
 * A line for each vector, and one with the sums: an interrupt is pending until
 * the handler has seen the last sequence number. One that stays so is lost.
 */
static int test_status_show(struct seq_file *file, void *unused)
{
	struct test_device *dev = file->private;
	u64 raised = 0, handled = 0, idle = 0;
	unsigned int index, pending = 0;

	mutex_lock(&dev->lock);
	for (index = 0; index < dev->requested; index++) {
		struct test_vector *vector = &dev->vectors[index];
		u64 last = test_sequence(dev, index);
		u64 count = last - vector->before;
		bool waits = READ_ONCE(vector->seen) != last;

		seq_printf(file, "vector=%u irq=%d raised=%llu handled=%llu idle=%llu pending=%u\n",
			   index, vector->irq, count, vector->handled,
			   vector->idle, waits);
		raised += count;
		handled += vector->handled;
		idle += vector->idle;
		pending += waits;
	}
	seq_printf(file, "all vectors=%u raised=%llu handled=%llu idle=%llu pending=%u rounds=%u\n",
		   dev->requested, raised, handled, idle, pending,
		   ioread32(dev->regs + REG_RATE_RUN));
	mutex_unlock(&dev->lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(test_status);

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
	/* The device has counted since it was made. */
	for (index = 0; index < dev->entries; index++) {
		iowrite32(index, dev->regs + REG_SELECT);
		dev->sequences[index] = cpu_to_le64(ioread32(dev->regs + REG_RAISED));
	}
	iowrite32(lower_32_bits(dev->sequences_dma), dev->regs + REG_SEQUENCES_LOW);
	iowrite32(upper_32_bits(dev->sequences_dma), dev->regs + REG_SEQUENCES_HIGH);
	pci_set_master(pdev);
	pci_set_drvdata(pdev, dev);

	dev->dir = debugfs_create_dir(pci_name(pdev), test_root);
	debugfs_create_file("control", 0200, dev->dir, dev, &test_control);
	debugfs_create_file("status", 0400, dev->dir, dev, &test_status_fops);
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
