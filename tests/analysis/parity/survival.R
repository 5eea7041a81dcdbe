# survreg, coxph and survfit of times.csv, and R2 of every subset of mediation.csv by lm: Rscript survival.R (R 4.2.2, survival 3.5.3)
library(survival)
library(jsonlite)
d <- read.csv("times.csv")
d$low[d$low == 0] <- NA
n <- length(unique(d$seed))
out <- list()
for (law in c("lognormal", "weibull")) {
  f <- survreg(Surv(low, high, type = "interval2") ~ rho + ln_tau, data = d, dist = law)
  out[[law]] <- list(beta = unname(coef(f)), sigma = f$scale, log_likelihood = f$loglik[2],
                     se = unname(sqrt(diag(vcov(f))))[1:3], se_log_sigma = unname(sqrt(diag(vcov(f))))[4])
  # Robust errors on exact and right-censored times: survreg's residuals of interval-censored rows do not sum to zero
  # at the maximum in the scale (survival 3.5.3), so its sandwich is not one there.
  g <- survreg(Surv(step, event) ~ rho + ln_tau, data = d, dist = law, cluster = seed)
  out[[paste0(law, "_exact")]] <- list(beta = unname(coef(g)), sigma = g$scale, log_likelihood = g$loglik[2],
                                       se_robust = unname(sqrt(diag(vcov(g)) * n / (n - 1)))[1:3],
                                       se_robust_log_sigma = unname(sqrt(diag(vcov(g)) * n / (n - 1)))[4])
}
cox <- coxph(Surv(step, event) ~ rho + ln_tau, data = d, cluster = seed, ties = "efron")
out$cox <- list(beta = unname(coef(cox)), se_robust = unname(sqrt(diag(vcov(cox)))),
                se = unname(sqrt(diag(cox$naive.var))))
# Kaplan and Meier of the first dose and temperature that hold a censored run, at the steps at which a run grokked
held <- d[d$event == 0, ][1, ]
km <- summary(survfit(Surv(step, event) ~ 1, d[d$rho == held$rho & d$ln_tau == held$ln_tau, ], conf.type = "log-log"))
out$kaplan_meier <- list(rho = held$rho, ln_tau = held$ln_tau, step = km$time, share = km$surv, low = km$lower,
                         high = km$upper)
m <- read.csv("mediation.csv")
# LMG by enumeration of all orders of entry
x <- c("ln_scale", "ln_grad", "ln_turn")
r2 <- function(s) if (length(s)) summary(lm(reformulate(s, "ln_step"), m))$r.squared else 0
orders <- list(c(1, 2, 3), c(1, 3, 2), c(2, 1, 3), c(2, 3, 1), c(3, 1, 2), c(3, 2, 1))
parts <- rep(0, 3)
for (o in orders) for (i in 1:3) parts[o[i]] <- parts[o[i]] + (r2(x[o[1:i]]) - r2(x[o[seq_len(i - 1)]])) / 6
out$lmg <- list(parts = parts, r2 = r2(x))
# Mediation: both models by lm, two-stage least squares, theorem 2 of Imai, Keele and Yamamoto (2010)
a <- lm(ln_scale ~ x + ln_tau, m); b <- lm(ln_step ~ x + ln_scale, m)
iv <- lm(ln_step ~ x + fitted(a), m)
e1 <- resid(lm(ln_step ~ x, m)); plain <- lm(ln_scale ~ x, m); e2 <- resid(plain)
acme <- function(r) coef(plain)["x"] * sd(e1) / sd(e2) * (cor(e1, e2) - r * sqrt((1 - cor(e1, e2)^2) / (1 - r^2)))
out$mediation <- list(acme = unname(coef(a)["x"] * coef(b)["ln_scale"]), ade = unname(coef(b)["x"]),
                      acme_instrumented = unname(coef(a)["x"] * coef(iv)[3]),
                      zero = cor(e1, e2), acme_at = list(minus = unname(acme(-0.4)), plus = unname(acme(0.7))))
write_json(out, "r.json", digits = 12, auto_unbox = TRUE, pretty = TRUE)
