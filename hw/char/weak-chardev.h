/* Until the character devices are linked in. */
#pragma once
#pragma weak chardev_attach
#pragma weak chardev_detach
#pragma weak chardev_write
#pragma weak chardev_write_all
#pragma weak chardev_accept_input
#pragma weak chardev_send_break
#pragma weak chardev_id
