/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What taking and giving back have in common: live.c. */
#ifndef PVIR_LIVE_H
#define PVIR_LIVE_H

struct device;
struct irq_chip;
struct irq_data;
struct msi_desc;
struct pci_dev;

void pvir_each(struct device *dev, void (*act)(struct msi_desc *desc, struct irq_data *top));
void pvir_hold(struct device *dev, struct irq_chip *chip);
void pvir_go_on(struct device *dev, struct irq_chip *chip);
void pvir_write_message(struct msi_desc *desc, struct irq_data *top);
void pvir_locked(struct pci_dev *pdev, void (*act)(struct pci_dev *pdev));

#endif /* PVIR_LIVE_H */
