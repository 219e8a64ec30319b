import { Anchor, type AnchorProps, Button, type ButtonProps } from '@mantine/core';
import { createLink } from '@tanstack/react-router';
import type { ComponentPropsWithRef } from 'react';

type LinkProps = Omit<ComponentPropsWithRef<'a'>, keyof AnchorProps | keyof ButtonProps>;

/** A link within the console; its address is checked against the routes. */
export const TextLink = createLink((props: LinkProps & AnchorProps) => <Anchor inherit {...props} />);

/** A link that looks like a button. */
export const ButtonLink = createLink((props: LinkProps & ButtonProps) => <Button component="a" {...props} />);
