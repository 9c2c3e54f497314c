/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What differs between the kernels that are served: 6.1, 6.12 and 7.x. Nothing else here asks
 * for a version.
 */
#ifndef PVIR_COMPAT_H
#define PVIR_COMPAT_H

#include <linux/irq.h>
#include <linux/msi.h>
#include <linux/syscore_ops.h>
#include <linux/version.h>
#include <asm/processor.h>

/* cpuid() */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 16, 0)
#include <asm/cpuid/api.h>
#endif

/* Since 6.2 a device has an MSI domain of its own, above a parent that makes it. */
#define PVIR_DEVICE_DOMAINS	(LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0))

/*
 * Until 6.15 msi_prepare is called with each allocation, with its descriptors in place. Since
 * then a device's domain is prepared once, before there are any.
 */
#define PVIR_PREPARE_HAS_DESCS	(LINUX_VERSION_CODE < KERNEL_VERSION(6, 16, 0))

/*
 * A move needs no interrupt context, because the device is not touched. Newer kernels take that
 * for granted.
 */
static inline void pvir_move_at_once(unsigned int virq)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 15, 0)
	irq_set_status_flags(virq, IRQ_MOVE_PCNTXT);
#endif
}

static inline void pvir_move_deferred(unsigned int virq)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 15, 0)
	irq_clear_status_flags(virq, IRQ_MOVE_PCNTXT);
#endif
}

/* The same for the chip of a device's own domain. */
static inline void pvir_chip_moves_at_once(struct irq_chip *chip)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 15, 0)
	chip->flags &= ~IRQCHIP_MOVE_DEFERRED;
#endif
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 15, 0)
#define pvir_lock_descs		__msi_lock_descs
#define pvir_unlock_descs	__msi_unlock_descs
#else
#define pvir_lock_descs		msi_lock_descs
#define pvir_unlock_descs	msi_unlock_descs
#endif

/* The hooks of syscore got an argument in 6.19. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0)
#define PVIR_SYSCORE_ARG	void *data
#define PVIR_SYSCORE(name, on_suspend, on_resume, on_shutdown)		\
	static const struct syscore_ops name##_ops = {			\
		.suspend	= on_suspend,				\
		.resume		= on_resume,				\
		.shutdown	= on_shutdown,				\
	};								\
	static struct syscore name = { .ops = &name##_ops }
#define pvir_register_syscore	register_syscore
#define pvir_unregister_syscore	unregister_syscore
#else
#define PVIR_SYSCORE_ARG	void
#define PVIR_SYSCORE(name, on_suspend, on_resume, on_shutdown)		\
	static struct syscore_ops name = {				\
		.suspend	= on_suspend,				\
		.resume		= on_resume,				\
		.shutdown	= on_shutdown,				\
	}
#define pvir_register_syscore	register_syscore_ops
#define pvir_unregister_syscore	unregister_syscore_ops
#endif

#endif /* PVIR_COMPAT_H */
