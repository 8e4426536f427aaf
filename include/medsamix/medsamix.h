/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file medsamix.h
 * @brief Everything: merge, run and score Segment Anything models. Includes the stable headers;
 * those under sys/ are for people who add merge methods and optimizers.
 */
#ifndef MEDSAMIX_MEDSAMIX_H
#define MEDSAMIX_MEDSAMIX_H

#include <medsamix/arch.h>
#include <medsamix/base.h>
#include <medsamix/checkpoint.h>
#include <medsamix/ctx.h>
#include <medsamix/generate.h>
#include <medsamix/image.h>
#include <medsamix/merge.h>
#include <medsamix/metrics.h>
#include <medsamix/model.h>
#include <medsamix/optimize.h>
#include <medsamix/search.h>
#include <medsamix/version.h>
#include <medsamix/volume.h>

#endif
