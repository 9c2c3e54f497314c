/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The driver of the emulated device, for tests: pvir_test_driver.c says what it is. */
#ifndef PVIR_TEST_H
#define PVIR_TEST_H

#include <linux/dcache.h>
#include <linux/io.h>
#include <linux/msi.h>
#include <linux/mutex.h>
#include <linux/pci.h>

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
#define REG_EVENT		0x54

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
	bool wakes;		/* its first interrupt wakes the machine */
	u32 rounds;		/* left of its rate when it was paused */
	struct test_vector *vectors;
};

/* pvir_test_vectors.c */
u64 test_sequence(const struct test_device *dev, unsigned int index);
int test_request(struct test_device *dev, unsigned int count, unsigned int types);
int test_add(struct test_device *dev);
void test_drop(struct test_device *dev);
void test_free(struct test_device *dev);
int test_rate(struct test_device *dev, const char *numbers);
void test_stop(struct test_device *dev);
void test_raise(struct test_device *dev, unsigned int index);
int test_resend(struct test_device *dev, unsigned int index);
void test_pause(struct test_device *dev);
void test_go_on(struct test_device *dev);

/* pvir_test_control.c */
void test_add_files(struct test_device *dev, struct dentry *root);

#endif /* PVIR_TEST_H */
