# The estimators of analysis/ by other hands: R's lm, nls, lme4, boot and t.test on made data.
# Writes estimates_runs.csv (the data) and estimates_expected.csv beside itself:
#   Rscript estimates.R            (R 4.2.2, lme4 1.1-31, boot 1.3-28.1, MASS; Debian packages r-cran-lme4, r-cran-boot)
suppressMessages({library(lme4); library(boot); library(splines); library(MASS)})
set.seed(20260618)
grid <- expand.grid(seed = 0:11, tau = c(1, 1.3, 1.7), rho = c(1, 1.05, 1.1, 1.15), p = c(59, 97))
own <- rnorm(12, 0, 0.06)
grid$logit_scale_at_grok <- 24 * grid$rho^2.5 / grid$tau^0.6 * exp(rnorm(nrow(grid), 0, 0.03))
grid$y <- ifelse(grid$p == 59, 5, 4.4) + 0.1 * grid$logit_scale_at_grok + 1.5 * (grid$rho - 1) +
  0.0012 * (grid$logit_scale_at_grok - 24)^2 + own[grid$seed + 1] + rnorm(nrow(grid), 0, 0.08)
grid$grokked_step <- 25 * round(exp(grid$y) / 25)
grid$logit_scale_at_grok <- round(grid$logit_scale_at_grok, 4)
write.csv(grid[c("p", "rho", "tau", "seed", "grokked_step", "logit_scale_at_grok")], "estimates_runs.csv",
          row.names = FALSE, quote = FALSE)
grid <- read.csv("estimates_runs.csv")
names(grid)[names(grid) == "logit_scale_at_grok"] <- "L"
grid$y <- log(grid$grokked_step)
out <- list()
put <- function(name, value) out[[name]] <<- unname(value)

runs <- grid[grid$p == 59, ]
cells <- merge(aggregate(grokked_step ~ rho + tau, runs, median), aggregate(L ~ rho + tau, runs, mean))
cells$y <- log(cells$grokked_step)

for (d in list(list("", cells), list("_runs", runs))) {
  s <- d[[1]]; x <- d[[2]]
  a <- lm(y ~ L, x); b <- lm(y ~ rho, x); ab <- lm(y ~ L + rho, x)
  put(paste0("r2_logit_scale", s), summary(a)$r.squared)
  put(paste0("r2_both", s), summary(ab)$r.squared)
  put(paste0("partial_r2_rho_given_logit_scale", s), (summary(ab)$r.squared - summary(a)$r.squared) / (1 - summary(a)$r.squared))
  put(paste0("slope_rho_given_logit_scale", s), coef(ab)["rho"])
  for (m in c("L", "rho", "L + rho")) {
    e <- unlist(lapply(split(x, list(x$rho, x$tau)), function(out_) {
      rest <- x[!(x$rho == out_$rho[1] & x$tau == out_$tau[1]), ]
      out_$y - predict(lm(as.formula(paste("y ~", m)), rest), out_)
    }))
    put(paste0("prediction_error_", c(L = "logit_scale", rho = "rho", "L + rho" = "both")[m], s), sqrt(mean(e^2)))
  }
}
curve <- function(x, probs, seeds) {
  k <- quantile(x$L, probs); n <- length(k)
  x$basis <- ns(x$L, knots = k[2:(n - 1)], Boundary.knots = k[c(1, n)])
  if (seeds) list(lm(y ~ factor(seed) + L, x), lm(y ~ factor(seed) + basis, x)) else list(lm(y ~ L, x), lm(y ~ basis, x))
}
for (d in list(list("", cells, c(.1, .5, .9), FALSE), list("_runs", runs, c(.05, .35, .65, .95), TRUE))) {
  f <- curve(d[[2]], d[[3]], d[[4]]); t <- anova(f[[1]], f[[2]])
  put(paste0("spline_f", d[[1]]), t$F[2]); put(paste0("spline_p", d[[1]]), t$`Pr(>F)`[2])
  put(paste0("spline_delta_aic", d[[1]]), AIC(f[[1]]) - AIC(f[[2]]))
}

m <- lmer(y ~ L + rho + (1 | seed), runs, REML = TRUE, control = lmerControl(optCtrl = list(ftol_abs = 1e-14, xtol_abs = 1e-14)))
v <- as.data.frame(VarCorr(m))$sdcor
put("mixed_slope_logit_scale", fixef(m)["L"]); put("mixed_slope_rho", fixef(m)["rho"])
put("mixed_slope_logit_scale_low", fixef(m)["L"] - qnorm(.975) * sqrt(diag(vcov(m)))[2])
put("mixed_slope_rho_high", fixef(m)["rho"] + qnorm(.975) * sqrt(diag(vcov(m)))[3])
put("mixed_sd_seed", v[1]); put("mixed_sd_residual", v[2])
put("mixed_intraclass_correlation", v[1]^2 / sum(v^2))

W <- 54; law <- cells[cells$tau == 1, ]; law$W <- W * law$rho; n <- nrow(law)
aic <- function(rss, k) n * log(rss / n) + 2 * k
e <- lm(y ~ W, law); rss <- sum(resid(e)^2)
put("alpha_per_norm_unit", coef(e)["W"]); put("alpha_per_norm_unit_low", confint(e)["W", 1]); put("r_squared", summary(e)$r.squared)
power <- optimize(function(w0) sum(resid(lm(y ~ log(W - w0), law))^2), c(0, min(law$W) - 1e-6), tol = 1e-9)
power0 <- sum(resid(lm(y ~ log(W), law))^2)
saddle <- optimize(function(u) { z <- law$y + .5 * log(max(law$W) + exp(u) - law$W); sum((z - mean(z))^2) }, c(-5, 12), tol = 1e-10)
put("delta_aic_power", aic(min(power$objective, power0), 3) - aic(rss, 2))
put("delta_aic_saddle_node", aic(saddle$objective, 2) - aic(rss, 2))
put("alpha_per_norm_unit_runs", coef(lm(y ~ I(W * rho), runs[runs$tau == 1, ]))[2])
direct <- nls(grokked_step ~ exp(c + a * rho), law, start = list(c = coef(e)[[1]], a = W * coef(e)[[2]]),
              control = nls.control(tol = 1e-6, minFactor = 1e-9))
put("alpha_per_rho_fit_on_steps", coef(direct)["a"])
ends <- suppressMessages(confint(direct))["a", ]
put("alpha_per_rho_fit_on_steps_low", ends[1]); put("alpha_per_rho_fit_on_steps_high", ends[2])

doses <- aggregate(grokked_step ~ p + rho, grid[grid$tau == 1, ], median); doses$y <- log(doses$grokked_step)
one <- lm(y ~ factor(p) + rho, doses); each <- lm(y ~ factor(p) * rho, doses); t <- anova(one, each)
put("shared_alpha_rho", coef(one)["rho"]); put("shared_alpha_rho_low", confint(one)["rho", 1])
put("equal_alpha_rho_f", t$F[2]); put("equal_alpha_rho_p", t$`Pr(>F)`[2]); put("equal_alpha_rho_delta_aic", AIC(each) - AIC(one))

wide <- reshape(runs[c("rho", "tau", "seed", "y")], idvar = c("rho", "tau"), timevar = "seed", direction = "wide")
d <- unlist(wide[wide$rho == 1.1 & wide$tau == 1.3, -(1:2)]) - unlist(wide[wide$rho == 1.05 & wide$tau == 1.3, -(1:2)])
for (margin in c(.2, .5)) put(paste0("tost_p_", margin), max(
  t.test(d, mu = -margin, alternative = "greater")$p.value, t.test(d, mu = margin, alternative = "less")$p.value))
put("tost_mean", mean(d)); put("tost_low", t.test(d, conf.level = .9)$conf.int[1])

top <- runs[runs$tau == 1 & runs$rho == 1.15, "grokked_step"]; low <- runs[runs$tau == 1 & runs$rho == 1, "grokked_step"]
ratio <- function(data, i) mean(data[i, 1]) / mean(data[i, 2])
b <- boot(cbind(top, low), ratio, R = 200000)
ci <- boot.ci(b, type = c("perc", "bca"), L = empinf(data = cbind(top, low), statistic = ratio, type = "jack", stype = "i"))
put("ratio", b$t0); put("ratio_percentile_low", ci$percent[4]); put("ratio_percentile_high", ci$percent[5])
put("ratio_bca_low", ci$bca[4]); put("ratio_bca_high", ci$bca[5])
write.csv(data.frame(name = names(out), value = format(unlist(out), digits = 12, trim = TRUE)), "estimates_expected.csv",
          row.names = FALSE, quote = FALSE)
