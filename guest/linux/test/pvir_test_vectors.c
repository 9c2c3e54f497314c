// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The interrupts of the emulated device: allocated, requested, raised and given back.
 */
#include <linux/delay.h>
#include <linux/interrupt.h>
#include <linux/irq.h>

#include "pvir_test.h"

/* MSI_ANY_INDEX comes with interrupts that are allocated one by one: Linux 6.2. */

/* Twenty milliseconds each; it takes one. */
#define TEST_RESEND_TRIES	500

u64 test_sequence(const struct test_device *dev, unsigned int index)
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

void test_stop(struct test_device *dev)
{
	iowrite32(0, dev->regs + REG_RATE_RUN);
}

void test_drop(struct test_device *dev)
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

void test_free(struct test_device *dev)
{
	test_stop(dev);
	while (dev->requested)
		test_drop(dev);
	if (dev->allocated)
		pci_free_irq_vectors(dev->pdev);
	dev->allocated = false;
}

/*
 * With PCI_IRQ_MSIX as many as are wanted. With PCI_IRQ_MSI it may be fewer, which is no error:
 * Linux gives one where it has no remapping unit for several.
 */
int test_request(struct test_device *dev, unsigned int count, unsigned int types)
{
	unsigned int least = types & PCI_IRQ_MSIX ? count : 1;
	unsigned int index;
	int granted, ret;

	if (dev->allocated)
		return -EBUSY;
	if (!count || count > dev->entries)
		return -EINVAL;
	granted = pci_alloc_irq_vectors(dev->pdev, least, count, types);
	if (granted < 0)
		return granted;
	dev->allocated = true;
	for (index = 0; index < granted; index++) {
		ret = test_request_one(dev, index, pci_irq_vector(dev->pdev, index));
		if (ret) {
			test_free(dev);
			return ret;
		}
	}
	return 0;
}

int test_add(struct test_device *dev)
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

int test_rate(struct test_device *dev, const char *numbers)
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

void test_raise(struct test_device *dev, unsigned int index)
{
	iowrite32(1, dev->regs + REG_TIMES);
	iowrite32(index, dev->regs + REG_RAISE);
}

/*
 * One that comes while its handler is off is noted, and raised again in software (irq_retrigger)
 * when the handler is on: disabling is lazy, so the entry is masked only then.
 */
int test_resend(struct test_device *dev, unsigned int index)
{
	unsigned int irq, tries = 0;

	if (index >= dev->requested)
		return -EINVAL;
	irq = dev->vectors[index].irq;
	disable_irq(irq);
	test_raise(dev, index);
	while (!irqd_irq_masked(irq_get_irq_data(irq)) && ++tries < TEST_RESEND_TRIES)
		msleep(20);
	enable_irq(irq);
	return tries < TEST_RESEND_TRIES ? 0 : -ETIMEDOUT;
}

/* While the machine sleeps nothing is raised, unless it is to wake the machine. */
void test_pause(struct test_device *dev)
{
	dev->rounds = ioread32(dev->regs + REG_RATE_RUN);
	test_stop(dev);
}

void test_go_on(struct test_device *dev)
{
	if (!dev->rounds)
		return;
	iowrite32(dev->rounds, dev->regs + REG_RATE_ROUNDS);
	iowrite32(1, dev->regs + REG_RATE_RUN);
	dev->rounds = 0;
}
