/* SPDX-License-Identifier: Apache-2.0 */
/* The models and options of a search, from the options of a verb. */
#ifndef MEDSAMIX_SETUP_H
#define MEDSAMIX_SETUP_H

#include "program.h"

/* --base, --model, --set, and every option that is one of the search. */
int setup_search(program *p, msx_search *search);

#endif
