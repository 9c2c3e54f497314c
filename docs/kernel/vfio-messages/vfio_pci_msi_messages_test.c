// SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0
/*
 * Test VFIO_DEVICE_FEATURE_PCI_MSI_MESSAGES.
 *
 * The device of $VFIO_BDF (0000:00:02.0 for instance) is bound to vfio-pci, is
 * alone in its group, and has MSI-X with two vectors at least. It is not told
 * to interrupt.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <linux/vfio.h>

#include "../kselftest_harness.h"

#define VECTORS		2

struct query {
	struct vfio_device_feature feature;
	struct vfio_device_feature_pci_msi_messages range;
	struct vfio_pci_msi_message messages[VECTORS];
} __attribute__((aligned(8)));

static int ask(int device, struct query *query, __u32 flags)
{
	query->feature.argsz = sizeof(*query);
	query->feature.flags = flags | VFIO_DEVICE_FEATURE_PCI_MSI_MESSAGES;

	return ioctl(device, VFIO_DEVICE_FEATURE, query);
}

static int get(int device, struct query *query, __u32 index, __u32 start,
	       __u32 count)
{
	memset(query, 0, sizeof(*query));
	query->range.index = index;
	query->range.start = start;
	query->range.count = count;

	return ask(device, query, VFIO_DEVICE_FEATURE_GET);
}

static int set_irqs(int device, __u32 start, __u32 count, const int *fds)
{
	char buffer[sizeof(struct vfio_irq_set) + VECTORS * sizeof(int)] = {};
	struct vfio_irq_set *set = (struct vfio_irq_set *)buffer;

	set->argsz = sizeof(*set) + (fds ? count * sizeof(int) : 0);
	set->flags = VFIO_IRQ_SET_ACTION_TRIGGER |
		     (fds ? VFIO_IRQ_SET_DATA_EVENTFD : VFIO_IRQ_SET_DATA_NONE);
	set->index = VFIO_PCI_MSIX_IRQ_INDEX;
	set->start = start;
	set->count = count;
	if (fds)
		memcpy(set->data, fds, count * sizeof(int));

	return ioctl(device, VFIO_DEVICE_SET_IRQS, set);
}

FIXTURE(messages)
{
	int container;
	int group;
	int device;
	int fds[VECTORS];
};

FIXTURE_SETUP(messages)
{
	char path[PATH_MAX], target[PATH_MAX];
	const char *bdf = getenv("VFIO_BDF");
	ssize_t length;
	int i;

	if (!bdf)
		SKIP(return, "VFIO_BDF names no device");

	self->container = open("/dev/vfio/vfio", O_RDWR);
	if (self->container < 0)
		SKIP(return, "no /dev/vfio/vfio");

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", bdf);
	length = readlink(path, target, sizeof(target) - 1);
	ASSERT_LT(0, length);
	target[length] = '\0';
	snprintf(path, sizeof(path), "/dev/vfio/%s", basename(target));
	self->group = open(path, O_RDWR);
	ASSERT_LE(0, self->group);
	ASSERT_EQ(0, ioctl(self->group, VFIO_GROUP_SET_CONTAINER,
			   &self->container));
	ASSERT_EQ(0, ioctl(self->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU));
	self->device = ioctl(self->group, VFIO_GROUP_GET_DEVICE_FD, bdf);
	ASSERT_LE(0, self->device);

	for (i = 0; i < VECTORS; i++) {
		self->fds[i] = eventfd(0, EFD_CLOEXEC);
		ASSERT_LE(0, self->fds[i]);
	}
}

FIXTURE_TEARDOWN(messages)
{
	int i;

	for (i = 0; i < VECTORS; i++)
		close(self->fds[i]);
	close(self->device);
	close(self->group);
	close(self->container);
}

TEST_F(messages, can_be_read_and_not_written)
{
	struct query query = {};

	ASSERT_EQ(0, ask(self->device, &query, VFIO_DEVICE_FEATURE_PROBE |
						VFIO_DEVICE_FEATURE_GET));
	ASSERT_EQ(-1, ask(self->device, &query, VFIO_DEVICE_FEATURE_PROBE |
						 VFIO_DEVICE_FEATURE_SET));
	ASSERT_EQ(EINVAL, errno);
}

TEST_F(messages, are_those_of_started_vectors)
{
	struct query query, again;
	int i;

	ASSERT_EQ(-1, get(self->device, &query, VFIO_PCI_MSIX_IRQ_INDEX, 0, 1));
	ASSERT_EQ(ENOENT, errno);

	ASSERT_EQ(0, set_irqs(self->device, 0, VECTORS, self->fds));
	ASSERT_EQ(0, get(self->device, &query, VFIO_PCI_MSIX_IRQ_INDEX, 0,
			 VECTORS));
	for (i = 0; i < VECTORS; i++) {
		EXPECT_NE(0, query.messages[i].address);
		EXPECT_EQ(0, query.messages[i].reserved);
	}
	/* Each has one of its own */
	EXPECT_TRUE(query.messages[0].address != query.messages[1].address ||
		    query.messages[0].data != query.messages[1].data);

	ASSERT_EQ(0, get(self->device, &again, VFIO_PCI_MSIX_IRQ_INDEX, 1, 1));
	EXPECT_EQ(query.messages[1].address, again.messages[0].address);
	EXPECT_EQ(query.messages[1].data, again.messages[0].data);

	ASSERT_EQ(0, set_irqs(self->device, 0, 0, NULL));
	ASSERT_EQ(-1, get(self->device, &query, VFIO_PCI_MSIX_IRQ_INDEX, 0, 1));
	ASSERT_EQ(ENOENT, errno);
}

TEST_F(messages, are_all_or_none)
{
	const int none = -1;
	struct query query;

	ASSERT_EQ(0, set_irqs(self->device, 0, VECTORS, self->fds));
	ASSERT_EQ(0, set_irqs(self->device, 1, 1, &none));
	ASSERT_EQ(-1, get(self->device, &query, VFIO_PCI_MSIX_IRQ_INDEX, 0,
			  VECTORS));
	ASSERT_EQ(ENOENT, errno);
	EXPECT_EQ(0, query.messages[0].address);
	ASSERT_EQ(0, get(self->device, &query, VFIO_PCI_MSIX_IRQ_INDEX, 0, 1));
}

TEST_F(messages, of_the_other_index_are_not_started)
{
	struct query query;

	ASSERT_EQ(0, set_irqs(self->device, 0, VECTORS, self->fds));
	ASSERT_EQ(-1, get(self->device, &query, VFIO_PCI_MSI_IRQ_INDEX, 0, 1));
	ASSERT_EQ(ENOENT, errno);
}

TEST_F(messages, are_asked_for_by_a_valid_range)
{
	struct query query;

	ASSERT_EQ(0, set_irqs(self->device, 0, VECTORS, self->fds));

	ASSERT_EQ(-1, get(self->device, &query, VFIO_PCI_MSIX_IRQ_INDEX, 0, 0));
	ASSERT_EQ(EINVAL, errno);
	ASSERT_EQ(-1, get(self->device, &query, VFIO_PCI_INTX_IRQ_INDEX, 0, 1));
	ASSERT_EQ(EINVAL, errno);
	/* More than the buffer takes, and more than there can be */
	ASSERT_EQ(-1, get(self->device, &query, VFIO_PCI_MSIX_IRQ_INDEX, 0,
			  VECTORS + 1));
	ASSERT_EQ(EINVAL, errno);
	ASSERT_EQ(-1, get(self->device, &query, VFIO_PCI_MSIX_IRQ_INDEX,
			  0xffffffff, 2));
	ASSERT_EQ(EINVAL, errno);

	memset(&query, 0, sizeof(query));
	query.range.index = VFIO_PCI_MSIX_IRQ_INDEX;
	query.range.count = 1;
	query.range.reserved = 1;
	ASSERT_EQ(-1, ask(self->device, &query, VFIO_DEVICE_FEATURE_GET));
	ASSERT_EQ(EINVAL, errno);
}

TEST_HARNESS_MAIN
