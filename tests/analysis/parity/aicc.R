# AIC and AICc of the three forms of the law from R's own logLik and its count of parameters, at n = 7 doses.
# Writes aicc_doses.csv (the data) and aicc.csv beside itself: Rscript aicc.R (R 4.2.2)
set.seed(7)
rho <- seq(0.85, 1.15, 0.05)
steps <- 25 * round(exp(1 + 7.5 * rho + 2 * (rho - 1)^2 + rnorm(7, 0, 0.08)) / 25)
write.csv(data.frame(rho = rho, grokked_step = steps), "aicc_doses.csv", row.names = FALSE, quote = FALSE)
d <- read.csv("aicc_doses.csv"); d$W <- 54 * d$rho; d$y <- log(d$grokked_step)
# AICc = -2 ln likelihood + 2 K n / (n - K - 1) (Burnham and Anderson 2002, as AICcmodavg has it), K with the variance;
# `more` is the parameter that optimize found and lm does not count.
score <- function(fit, more, corrected) {
  l <- logLik(fit); k <- attr(l, "df") + more; n <- nobs(fit)
  -2 * as.numeric(l) + if (corrected) 2 * k * n / (n - k - 1) else 2 * k
}
exponential <- lm(y ~ W, d)
x0 <- optimize(function(x0) deviance(lm(y ~ log(W - x0), d)), c(0, min(d$W) - 1e-6), tol = 1e-10)$minimum
if (deviance(lm(y ~ log(W), d)) < deviance(lm(y ~ log(W - x0), d))) x0 <- 0
power <- lm(y ~ log(W - x0), d)
u <- optimize(function(u) deviance(lm(y + .5 * log(max(W) + exp(u) - W) ~ 1, d)), c(-5, 12), tol = 1e-10)$minimum
saddle <- lm(y + .5 * log(max(W) + exp(u) - W) ~ 1, d)
out <- list()
for (corrected in c(FALSE, TRUE)) {
  name <- if (corrected) "aicc" else "aic"
  e <- score(exponential, 0, corrected)
  out[[paste0(name, "_power")]] <- score(power, 1, corrected) - e
  out[[paste0(name, "_saddle_node")]] <- score(saddle, 1, corrected) - e
}
write.csv(data.frame(name = names(out), value = format(unlist(out), digits = 12, trim = TRUE)), "aicc.csv",
          row.names = FALSE, quote = FALSE)
