# flowd as an image: `docker build -t flowd .` in a checkout, then docs/many.md. The first stage builds; the second has Python, flowd
# and what it needs, and nothing that builds, as a user who owns nothing but the state.

FROM python:3.13-slim AS build
ARG EXTRAS=""
WORKDIR /src
# The pages' chart is fetched by npm while the wheel is built.
RUN apt-get update && apt-get install -y --no-install-recommends npm && rm -rf /var/lib/apt/lists/*
COPY pyproject.toml hatch_build.py README.md LICENSE flowd.toml.example ./
COPY flowd flowd
COPY plugins plugins
RUN python -m venv /opt/flowd \
 && /opt/flowd/bin/pip install --no-cache-dir --no-compile ".${EXTRAS:+[$EXTRAS]}" \
 && rm -r /opt/flowd/lib/python*/site-packages/pip*

FROM python:3.13-slim
RUN useradd --system --uid 4200 --no-create-home --shell /usr/sbin/nologin flowd \
 && install -d -o flowd -g flowd -m 700 /var/lib/flowd \
 && install -d /etc/flowd
COPY --from=build /opt/flowd /opt/flowd
ENV PATH=/opt/flowd/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONFAULTHANDLER=1 \
    STATE_DIRECTORY=/var/lib/flowd \
    FLOWD__LISTEN=0.0.0.0:4200
USER flowd
WORKDIR /var/lib/flowd
VOLUME /var/lib/flowd
EXPOSE 4200
# 1 is a daemon that serves while something upstream is not well: starting it again would not help, so that counts as healthy.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD flowd status >/dev/null; test $? -le 1
# flowd is gone within 10 seconds of SIGTERM, which is also what Docker waits.
STOPSIGNAL SIGTERM
ENTRYPOINT ["flowd"]
CMD ["run", "-c", "/etc/flowd/flowd.toml"]
