// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Masks and unmasks an interrupt of any driver, for tests: from user space
 * nothing does. The file /sys/kernel/debug/pvir-test-irq takes "IRQ PAIRS"
 * and disables and enables that interrupt so often, not lazily: each is an
 * access to the entry of the MSI-X table. What is read from it is how many
 * nanoseconds the last write took.
 */

#include <linux/debugfs.h>
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/uaccess.h>

#define MAX_PAIRS	1000000

static DEFINE_MUTEX(test_lock);
static struct dentry *test_file;
static u64 test_took;

static int test_pairs(unsigned int irq, unsigned int pairs)
{
	u64 start;

	if (!irq_get_irq_data(irq) || pairs > MAX_PAIRS)
		return -EINVAL;
	irq_set_status_flags(irq, IRQ_DISABLE_UNLAZY);
	start = ktime_get_ns();
	while (pairs--) {
		disable_irq(irq);
		enable_irq(irq);
	}
	test_took = ktime_get_ns() - start;
	irq_clear_status_flags(irq, IRQ_DISABLE_UNLAZY);
	return 0;
}

static ssize_t test_write(struct file *file, const char __user *buffer,
			  size_t size, loff_t *offset)
{
	unsigned int irq, pairs;
	char command[32];
	int ret;

	if (size >= sizeof(command))
		return -EINVAL;
	if (copy_from_user(command, buffer, size))
		return -EFAULT;
	command[size] = '\0';
	if (sscanf(command, "%u %u", &irq, &pairs) != 2)
		return -EINVAL;
	mutex_lock(&test_lock);
	ret = test_pairs(irq, pairs);
	mutex_unlock(&test_lock);
	return ret ? ret : size;
}

static ssize_t test_read(struct file *file, char __user *buffer, size_t size,
			 loff_t *offset)
{
	char text[24];
	int length = scnprintf(text, sizeof(text), "%llu\n", READ_ONCE(test_took));

	return simple_read_from_buffer(buffer, size, offset, text, length);
}

static const struct file_operations test_operations = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.read = test_read,
	.write = test_write,
};

static int __init test_init(void)
{
	test_file = debugfs_create_file("pvir-test-irq", 0600, NULL, NULL, &test_operations);
	return PTR_ERR_OR_ZERO(test_file);
}
module_init(test_init);

static void __exit test_exit(void)
{
	debugfs_remove(test_file);
}
module_exit(test_exit);

MODULE_DESCRIPTION("Masks and unmasks interrupts for pvir's tests");
MODULE_LICENSE("Dual MIT/GPL");
