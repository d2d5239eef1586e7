# Writes go to the master, reads to every server that can answer, behind an AWS Application Load Balancer. Both follow a
# failover by health checks alone: two groups of the same instances, of which one asks /health/master.
#
# An ALB checks every 5 s at best and needs two answers to change its mind: for some 10 s after a failover it sends writes to
# the old master. While nobody is healthy it sends to all of a group ("fail open"). Neither does harm, since a server that may not
# write says 503, but where that is too long put HAProxy or nginx (beside this directory) behind a network load balancer.

terraform {
  required_version = ">= 1.3"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "name" {
  description = "What the balancer and its groups are called."
  type        = string
  default     = "nebulagc"
}

variable "vpc_id" {
  description = "The network of the servers."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets of the balancer, in two availability zones or more."
  type        = list(string)
}

variable "security_group_ids" {
  description = "Security groups of the balancer. The servers' own must let it in at server_port."
  type        = list(string)
}

variable "instance_ids" {
  description = "The servers' instances by a name that does not change, as node1."
  type        = map(string)
}

variable "server_port" {
  description = "Where the servers listen."
  type        = number
  default     = 8080
}

variable "internal" {
  description = "Whether the balancer is reached from the inside only."
  type        = bool
  default     = true
}

variable "http_port" {
  description = "Where the balancer listens; with a certificate it redirects to https_port."
  type        = number
  default     = 80
}

variable "https_port" {
  description = "Where the balancer listens with a certificate."
  type        = number
  default     = 443
}

variable "certificate_arn" {
  description = "Certificate for HTTPS; without one the balancer speaks HTTP, and tokens go in plain text."
  type        = string
  default     = null
}

variable "tls_policy" {
  description = "Which versions and ciphers of TLS are taken."
  type        = string
  default     = "ELBSecurityPolicy-TLS13-1-2-2021-06"
}

locals {
  has_tls = var.certificate_arn != null
  # The listener that takes requests, and not the one that only redirects.
  listener_arn = local.has_tls ? aws_lb_listener.https[0].arn : aws_lb_listener.http.arn
}

resource "aws_lb" "nebulagc" {
  name               = var.name
  internal           = var.internal
  load_balancer_type = "application"
  security_groups    = var.security_group_ids
  subnets            = var.subnet_ids
  # Longer than the servers may take for a write that waits for a failover.
  idle_timeout = 60
}

resource "aws_lb_target_group" "writers" {
  name     = "${var.name}-writers"
  port     = var.server_port
  protocol = "HTTP"
  vpc_id   = var.vpc_id
  # Of an instance that is taken out: requests under way end sooner than the default of five minutes.
  deregistration_delay = 5

  health_check {
    path                = "/health/master"
    matcher             = "200"
    interval            = 5
    timeout             = 2
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }

  # Whoever is stuck to a server keeps writing there after a failover.
  stickiness {
    type    = "lb_cookie"
    enabled = false
  }
}

resource "aws_lb_target_group" "readers" {
  name                          = "${var.name}-readers"
  port                          = var.server_port
  protocol                      = "HTTP"
  vpc_id                        = var.vpc_id
  deregistration_delay          = 5
  load_balancing_algorithm_type = "least_outstanding_requests"

  health_check {
    path                = "/health"
    matcher             = "200"
    interval            = 5
    timeout             = 2
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }

  stickiness {
    type    = "lb_cookie"
    enabled = false
  }
}

resource "aws_lb_target_group_attachment" "writers" {
  for_each         = var.instance_ids
  target_group_arn = aws_lb_target_group.writers.arn
  target_id        = each.value
  port             = var.server_port
}

resource "aws_lb_target_group_attachment" "readers" {
  for_each         = var.instance_ids
  target_group_arn = aws_lb_target_group.readers.arn
  target_id        = each.value
  port             = var.server_port
}

resource "aws_lb_listener" "http" {
  load_balancer_arn = aws_lb.nebulagc.arn
  port              = var.http_port
  protocol          = "HTTP"

  default_action {
    type             = local.has_tls ? "redirect" : "forward"
    target_group_arn = local.has_tls ? null : aws_lb_target_group.writers.arn

    # An ALB knows no 307 or 308, so a redirected POST may arrive as GET: clients should be given the https address.
    dynamic "redirect" {
      for_each = local.has_tls ? [1] : []
      content {
        protocol    = "HTTPS"
        port        = tostring(var.https_port)
        status_code = "HTTP_301"
      }
    }
  }
}

resource "aws_lb_listener" "https" {
  count             = local.has_tls ? 1 : 0
  load_balancer_arn = aws_lb.nebulagc.arn
  port              = var.https_port
  protocol          = "HTTPS"
  certificate_arn   = var.certificate_arn
  ssl_policy        = var.tls_policy

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.writers.arn
  }
}

resource "aws_lb_listener_rule" "reads" {
  listener_arn = local.listener_arn
  priority     = 10

  action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.readers.arn
  }

  condition {
    http_request_method {
      values = ["GET", "HEAD", "OPTIONS"]
    }
  }
}

output "dns_name" {
  description = "Where clients reach the servers."
  value       = aws_lb.nebulagc.dns_name
}

output "listener_arn" {
  description = "For rules of one's own."
  value       = local.listener_arn
}
