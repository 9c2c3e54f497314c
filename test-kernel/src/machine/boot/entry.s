# Entry by the PVH (x86/HVM direct boot) ABI: 32-bit protected mode, paging off, EBX = hvm_start_info.
# Leaves in 64-bit mode with the first 4 GiB identity mapped by 2 MiB pages, and calls kernel_entry.

    .section .note.pvh, "a", @note
    .balign 4
    .long 4, 8, 18                      # length of the name, of the value, XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .quad pvh_start32

    .section .text.boot, "ax"
    .code32
    .global pvh_start32
pvh_start32:
    rdtsc                               # first of all: the time that `boot::started` tells
    cli
    cld
    movl %eax, boot_tsc
    movl %edx, boot_tsc + 4
    movl %ebx, %ebp

    movl $bss_start, %edi               # loaders need not clear .bss
    movl $bss_end, %ecx
    subl %edi, %ecx
    shrl $2, %ecx
    xorl %eax, %eax
    rep stosl

    movl $boot_pml4, %edi               # the page tables: nothing in them is left over either
    movl $(6 * 1024), %ecx
    rep stosl

    movl $boot_pdpt + 7, boot_pml4      # 7: present, writable, user (ring 3 runs on the same map)
    movl $boot_pd + 7, %eax
    movl $boot_pdpt, %edi
    movl $4, %ecx
1:  movl %eax, (%edi)
    addl $0x1000, %eax
    addl $8, %edi
    loop 1b

    movl $0x87, %eax                    # 0x80: 2 MiB page
    movl $boot_pd, %edi
    movl $2048, %ecx
2:  movl %eax, (%edi)
    addl $0x200000, %eax
    cmpl $0xc0000087, %eax              # the uppermost GiB below 4 GiB is devices: uncached
    jne 3f
    orl $0x18, %eax
3:  addl $8, %edi
    loop 2b

    movl %cr4, %eax
    orl $0x620, %eax                    # OSXMMEXCPT, OSFXSR (SSE instructions may be executed), PAE
    movl %eax, %cr4
    movl $boot_pml4, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx              # EFER
    rdmsr
    orl $0x100, %eax                    # LME
    wrmsr
    movl %cr0, %eax
    andl $~0xc, %eax                    # neither TS nor EM, with which SSE instructions fault
    orl $0x80000003, %eax               # PG, MP, PE
    movl %eax, %cr0
    lgdtl boot_gdt_pointer
    ljmpl $0x08, $start64

    .code64
start64:
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    movl $boot_stack_top, %esp
    xorl %edi, %edi
    movl %ebp, %edi
    xorl %ebp, %ebp
    call kernel_entry
4:  cli
    hlt
    jmp 4b

    .section .rodata.boot, "a"
    .balign 16
    .global boot_gdt
boot_gdt:
    .quad 0
    .quad 0x00af9b000000ffff            # 0x08: 64-bit code
    .quad 0x00cf93000000ffff            # 0x10: data
boot_gdt_pointer:
    .word . - boot_gdt - 1
    .long boot_gdt

    .section .boot_bss, "aw", @nobits
    .balign 4096
    .global boot_pml4
boot_pml4:
    .skip 4096
boot_pdpt:
    .skip 4096
boot_pd:
    .skip 4 * 4096
    .skip 64 * 1024
    .global boot_stack_top
boot_stack_top:
    .global boot_tsc
boot_tsc:
    .skip 8
