/* SPDX-License-Identifier: Apache-2.0 */
/* The built-in drivers; drivers.c registers them with a context when its registry is first asked. */
#ifndef MSX_OPTIMIZE_DRIVERS_H
#define MSX_OPTIMIZE_DRIVERS_H

#include "core/core.h"

#include <medsamix/sys/optimizer_driver.h>

extern const msx_optimizer_driver msx__driver_random;
extern const msx_optimizer_driver msx__driver_sobol;
extern const msx_optimizer_driver msx__driver_smac;
extern const msx_optimizer_driver msx__driver_parego;
extern const msx_optimizer_driver msx__driver_nsga2;
extern const msx_optimizer_driver msx__driver_tpe;
extern const msx_optimizer_driver msx__driver_cmaes;

#endif
