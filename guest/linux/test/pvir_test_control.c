// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The files "control" and "status".
 */
#include <linux/debugfs.h>
#include <linux/seq_file.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "pvir_test.h"

static int test_command(struct test_device *dev, const char *command)
{
	u32 number;

	if (sscanf(command, "request %u", &number) == 1)
		return test_request(dev, number, PCI_IRQ_MSIX);
	if (sscanf(command, "msi %u", &number) == 1)
		return test_request(dev, number, PCI_IRQ_MSI);
	if (sscanf(command, "resend %u", &number) == 1)
		return test_resend(dev, number);
	if (sscanf(command, "raise %u", &number) == 1) {
		test_raise(dev, number);
		return 0;
	}
	if (sscanf(command, "event %u", &number) == 1) {
		iowrite32(number, dev->regs + REG_EVENT);
		return 0;
	}
	if (sscanf(command, "wake %u", &number) == 1) {
		dev->wakes = number;
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

void test_add_files(struct test_device *dev, struct dentry *root)
{
	dev->dir = debugfs_create_dir(pci_name(dev->pdev), root);
	debugfs_create_file("control", 0200, dev->dir, dev, &test_control);
	debugfs_create_file("status", 0400, dev->dir, dev, &test_status_fops);
}
